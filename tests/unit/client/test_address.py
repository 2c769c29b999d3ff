"""The broker's URL."""

import ssl

import pytest

from analytics_client.address import parse_address


def test_every_part_is_used() -> None:
    """Passwords are percent-encoded in URLs."""
    address = parse_address("rabbitmq-stream://me:p%40ss%2F@broker:1234/%2Fmine")

    assert (address.host, address.port, address.user, address.password) == ("broker", 1234, "me", "p@ss/")
    assert address.vhost == "/mine"
    assert address.tls is None


def test_what_is_left_out_is_the_brokers_default() -> None:
    """As in every RabbitMQ client."""
    address = parse_address("rabbitmq-stream://broker")

    assert (address.port, address.user, address.password, address.vhost) == (5552, "guest", "guest", "/")


def test_tls_has_its_own_port_and_verifies() -> None:
    """Encryption without verification would only look safe."""
    address = parse_address("rabbitmq-stream+tls://broker")

    assert address.port == 5551
    assert address.tls is not None
    assert address.tls.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("url", ["amqp://me:secret@broker", "rabbitmq-stream://", "broker:5552", ""])
def test_another_url_is_refused_without_being_repeated(url: str) -> None:
    """Error messages end up in logs."""
    with pytest.raises(ValueError, match="rabbitmq-stream://user:password@host") as error:
        parse_address(url)

    assert "secret" not in str(error.value)


def test_the_password_is_not_in_the_repr() -> None:
    """A dump of local variables must not leak it."""
    assert "p@ss" not in repr(parse_address("rabbitmq-stream://me:p%40ss@broker"))
