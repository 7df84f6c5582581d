//! Recognises the errors of a file that another program holds: a virus scanner, a backup, an editor. Such a state passes,
//! so the caller keeps its data and tries again. Pure functions; any thread.
//!
//! On Windows a program may open a file so that no other one can read, write, rename or remove it meanwhile
//! (<https://learn.microsoft.com/windows/win32/fileio/creating-and-opening-files>, `dwShareMode`), and it may lock ranges
//! of bytes (<https://learn.microsoft.com/windows/win32/fileio/locking-and-unlocking-byte-ranges-in-files>). Unix has no
//! such rule of its own, but a mounted Windows share answers with the kinds below.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// Pause before another attempt: short for a person who waits for a line, long for a disk that is asked.
pub(crate) const HELD_RETRY: Duration = Duration::from_secs(1);
/// Attempts of [`patiently`], and the pause between two: a virus scanner is done with a small file by then.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

// Codes of Windows (<https://learn.microsoft.com/windows/win32/debug/system-error-codes--0-499->, and `--1000-1299-` for
// the last one). On Unix the same numbers mean other things.
const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SHARING_VIOLATION: i32 = 32;
const ERROR_LOCK_VIOLATION: i32 = 33;
const ERROR_BUSY: i32 = 170;
const ERROR_DELETE_PENDING: i32 = 303;
const ERROR_USER_MAPPED_FILE: i32 = 1224;

/// Whether another attempt makes sense after this error of a call that names a file: open, create, rename, remove.
pub(crate) fn is_held(err: &io::Error) -> bool {
    is_in_use(err) || cfg!(windows) && err.raw_os_error().is_some_and(windows_code_is_held)
}

/// The same for a call on an open file, and for words about the cause: true only if nothing but another program can be
/// the cause.
pub(crate) fn is_in_use(err: &io::Error) -> bool {
    let is_code = cfg!(windows) && err.raw_os_error().is_some_and(windows_code_is_in_use);
    is_code || matches!(err.kind(), ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy)
}

/// [`is_held`] for a code of Windows. Windows also denies access to a file that is being deleted: its name stays until
/// the last program closes it (<https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-deletefilew>), and to a
/// file that a rename would replace while another program holds it. Missing rights have the same code.
fn windows_code_is_held(code: i32) -> bool {
    code == ERROR_ACCESS_DENIED || windows_code_is_in_use(code)
}

/// [`is_in_use`] for a code of Windows.
fn windows_code_is_in_use(code: i32) -> bool {
    const CODES: [i32; 5] =
        [ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION, ERROR_BUSY, ERROR_DELETE_PENDING, ERROR_USER_MAPPED_FILE];
    CODES.contains(&code)
}

/// Text before an error: it says that another program holds the file, in the same words on every system and in every
/// language. Empty for any other error.
pub(crate) fn words(err: &io::Error) -> &'static str {
    if is_in_use(err) { "another program holds it: " } else { "" }
}

/// Repeats a call while another program holds its file, for a fifth of a second at most. For callers that cannot come
/// back later.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match call() {
            Err(err) if is_held(&err) => std::thread::park_timeout(PAUSE),
            done => return done,
        }
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: code of Windows, whether it passes for a call that names a file, and for one on an open file.
    #[test]
    fn the_codes_of_windows_that_pass() {
        for (code, held, in_use) in [
            (2, false, false),   // ERROR_FILE_NOT_FOUND
            (3, false, false),   // ERROR_PATH_NOT_FOUND
            (5, true, false),    // ERROR_ACCESS_DENIED
            (19, false, false),  // ERROR_WRITE_PROTECT
            (32, true, true),    // ERROR_SHARING_VIOLATION
            (33, true, true),    // ERROR_LOCK_VIOLATION
            (80, false, false),  // ERROR_FILE_EXISTS
            (112, false, false), // ERROR_DISK_FULL
            (123, false, false), // ERROR_INVALID_NAME
            (170, true, true),   // ERROR_BUSY
            (183, false, false), // ERROR_ALREADY_EXISTS
            (303, true, true),   // ERROR_DELETE_PENDING
            (1224, true, true),  // ERROR_USER_MAPPED_FILE
            (-1, false, false),
        ] {
            assert_eq!((windows_code_is_held(code), windows_code_is_in_use(code)), (held, in_use), "{code}");
            let err = io::Error::from_raw_os_error(code);
            if cfg!(windows) {
                assert_eq!((is_held(&err), is_in_use(&err)), (held, in_use), "{code}");
            }
        }
    }

    #[test]
    fn a_code_of_windows_means_nothing_on_unix() {
        for (kind, held) in [
            (ErrorKind::ResourceBusy, true),
            (ErrorKind::ExecutableFileBusy, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::StorageFull, false),
            (ErrorKind::NotFound, false),
        ] {
            let err = io::Error::from(kind);
            assert_eq!((is_held(&err), !words(&err).is_empty()), (held, held), "{kind:?}");
        }
        if cfg!(unix) {
            for code in [5, 32, 33, 170, 303, 1224] {
                assert!(!is_held(&io::Error::from_raw_os_error(code)), "{code}");
            }
        }
    }

    #[test]
    fn a_held_file_is_tried_a_bounded_number_of_times() {
        let attempts = |passes_after: u32, kind: ErrorKind| {
            let mut made = 0;
            let result = patiently(|| {
                made += 1;
                if made > passes_after { Ok(()) } else { Err(kind.into()) }
            });
            (made, result.is_ok())
        };
        assert_eq!(attempts(0, ErrorKind::ResourceBusy), (1, true));
        assert_eq!(attempts(2, ErrorKind::ResourceBusy), (3, true));
        assert_eq!(attempts(u32::MAX, ErrorKind::ResourceBusy), (ATTEMPTS, false));
        assert_eq!(attempts(u32::MAX, ErrorKind::NotFound), (1, false));
    }
}
