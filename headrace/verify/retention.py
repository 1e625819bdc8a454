"""Reports and verified receipts that a pipeline keeps no longer."""

import logging
import time

from headrace.contract.retention import Retention
from headrace.errors import HeadraceError
from headrace.ledger import verified_receipts
from headrace.ledger.folder import Folder
from headrace.ledger.progress import (
    is_of_another_checkpoint,
    published_runs,
)
from headrace.verify.stored import expire

log = logging.getLogger("headrace")

LOT = 1 / 8
"""Part of the time for which something is kept: it goes in lots, once the oldest is that much too old, since
each lot reads all that is kept."""


def tidy(folder: Folder, retention: Retention) -> None:
    """Remove reports and verified receipts that are older than the pipeline keeps them.

    A failure is a warning: the next run tries again.
    """
    now = time.time()
    try:
        # Of a folder that is not there (a reset), or holds another ledger than the one that was verified,
        # nothing is known.
        if not folder.verified.exists() or is_of_another_checkpoint(folder):
            return
        with folder.locked("the removal of old reports", lock=Folder.VERIFIED_LOCK, timeout=Folder.BRIEFLY):
            reports = expire(folder, now - retention.reports, now - (1 + LOT) * retention.reports)
            receipts = verified_receipts.expire(
                folder,
                now - retention.receipts,
                now - (1 + LOT) * retention.receipts,
                keep=published_runs(folder),
            )
    except (HeadraceError, OSError) as error:
        log.warning("old reports and receipts were not removed: %s", error)
        return
    if reports or receipts:
        log.info("removed what the pipeline keeps no longer: reports %d, receipts %d", reports, receipts)
