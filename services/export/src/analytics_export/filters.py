"""Which calls an export counts: the filters of the usage API, by its names."""

from typing import Annotated

import msgspec

from analytics_export.limits import FILTER_VALUES_MAX, IDENTIFIER_CHARACTERS_MAX

_Value = Annotated[str, msgspec.Meta(min_length=1, max_length=IDENTIFIER_CHARACTERS_MAX)]
Values = Annotated[list[_Value], msgspec.Meta(max_length=FILTER_VALUES_MAX)]


class Filters(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """A call counts when each filter that is given has its value. `modelId` is another name for `models`."""

    model_id: Values = []
    client_id: Values = []
    actor_id: Values = []
    status: Values = []
    project: Values = []
    error_code: Values = []

    def normalized(self) -> "Filters":
        """Sorted, without repetitions: the same question is the same text however it is asked."""
        return Filters(**{name: sorted(set(values)) for name, values in msgspec.structs.asdict(self).items()})
