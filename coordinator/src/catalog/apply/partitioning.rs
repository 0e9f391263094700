//! When partitions are split and merged by themselves.

use common::catalog::{Catalog, PartitioningLimits};
use common::{Error, Result};

use crate::catalog::{Answer, Command};

/// What is merged must be at most this part of what is split, so that neither undoes the other.
const APART: u64 = 2;

/// Takes over the limits that are given, if those in force then leave split and merge apart.
pub(super) fn configure(catalog: &mut Catalog, command: &Command) -> Result<Answer> {
    let Command::ConfigurePartitioning {
        automatic,
        split_bytes,
        split_requests,
        merge_bytes,
        merge_requests,
        after_seconds,
    } = command
    else {
        return Err(Error::internal("another command configures partitioning"));
    };
    let now = catalog.partitioning;
    let limits = PartitioningLimits {
        automatic: automatic.unwrap_or(now.automatic),
        split_bytes: split_bytes.unwrap_or(now.split_bytes),
        split_requests: split_requests.unwrap_or(now.split_requests),
        merge_bytes: merge_bytes.unwrap_or(now.merge_bytes),
        merge_requests: merge_requests.unwrap_or(now.merge_requests),
        after_seconds: after_seconds.unwrap_or(now.after_seconds),
    };
    for (what, merge, split) in [
        ("bytes", limits.merge_bytes, limits.split_bytes),
        ("requests", limits.merge_requests, limits.split_requests),
    ] {
        if merge > split / APART {
            let message =
                format!("'merge_{what}' must be at most half of 'split_{what}': {merge} and {split}");
            return Err(Error::bad_request(message)
                .with_hint("else what was merged would be split again; set both in one request"));
        }
    }
    catalog.partitioning = limits;
    Ok(Answer::Done)
}
