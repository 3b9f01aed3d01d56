"""Files shared by all that writes to disk: atomic, under digests, read with care."""

from htfjax._archives import read_npz as read_npz
from htfjax._digests import file_digest as file_digest
from htfjax._digests import json_digest as json_digest
from htfjax._digests import read_sealed as read_sealed
from htfjax._digests import write_sealed as write_sealed
from htfjax._files import absolute as absolute
from htfjax._files import atomic_write as atomic_write
