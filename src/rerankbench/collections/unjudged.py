"""The grade of what nobody judged."""

from __future__ import annotations

import numpy as np

# Of a ranked document that nobody judged, and of padding. The smallest int32, so that it is below every
# threshold and sorts behind every real grade, negative ones included.
UNJUDGED = int(np.iinfo(np.int32).min)
