"""The bytes of a stream message."""

import pytest
from rstream import AMQPMessage, amqp_decoder

from analytics_client.encoding import data_section


@pytest.mark.parametrize("size", [1, 255, 256, 65_536])
def test_it_is_what_other_stream_clients_send(size: int) -> None:
    """One byte of length below 256, four from there on: both must be read as they were written."""
    body = b"x" * size

    assert data_section(body) == bytes(AMQPMessage(body=body))
    assert amqp_decoder(data_section(body)).body == body
