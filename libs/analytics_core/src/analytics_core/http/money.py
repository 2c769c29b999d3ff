"""Amounts in JSON and OpenAPI: exact decimal numbers, never floats, never text."""

from decimal import Decimal
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

JSON = msgspec.json.Encoder(decimal_format="number")
"""Encodes `Decimal` digit by digit. Litestar's own encoder would write a string."""


class DecimalSchema(OpenAPISchemaPlugin):
    """Documents `Decimal` fields as what `JSON` makes of them."""

    @staticmethod
    def is_plugin_supported_type(value: object) -> bool:
        return value is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:  # noqa: ARG002
        return Schema(
            type=OpenAPIType.NUMBER,
            description="An exact decimal with at most 6 digits after the point: read it as a decimal, not a double.",
        )
