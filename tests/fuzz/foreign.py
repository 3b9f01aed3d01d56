"""Objects of other libraries, which no function of htfjax takes."""

import datetime
import io
import re
import uuid

import numpy as np

from tests.fuzz.calls import always
from tests.fuzz.kinds import wrongs

__all__ = ["FOREIGN"]

# Right for nothing that refuses objects it does not know.
FOREIGN = (
    *wrongs(
        ("ellipsis", always(Ellipsis)),
        ("not_implemented", always(NotImplemented)),
        ("module", always(re)),
        ("exception", always(ValueError("nonsense"))),
        ("pattern", always(re.compile("a"))),
        ("date", always(datetime.date(2020, 1, 1))),
        ("duration", always(datetime.timedelta(1))),
        ("uuid", always(uuid.UUID(int=1))),
        ("buffer", lambda _: io.BytesIO()),
        ("void", lambda _: np.zeros((), [("a", float)])),
        ("object0", lambda _: np.array(None)),
        ("iterator", lambda _: iter(())),
    ),
)
