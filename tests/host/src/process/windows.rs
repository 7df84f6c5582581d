//! The numbers that Windows gives about the own process. Any thread. Windows counts no mappings.
#![allow(unsafe_code)] // calls into the system by their documented signatures

use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

use super::Resources;

pub(crate) fn resources() -> Resources {
    Resources { threads: threads(), fds: handles(), rss_kb: working_set_kb(), maps: None }
}

/// <https://learn.microsoft.com/en-us/windows/win32/toolhelp/traversing-the-thread-list>
fn threads() -> Option<u64> {
    let own = std::process::id();
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    // SAFETY: the entry says its size; the handle is good and is closed once.
    unsafe {
        let snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        if snapshot == INVALID_HANDLE_VALUE {
            return None;
        }
        let mut count = 0;
        let mut found = Thread32First(snapshot, &mut entry);
        while found != 0 {
            count += u64::from(entry.th32OwnerProcessID == own);
            found = Thread32Next(snapshot, &mut entry);
        }
        CloseHandle(snapshot);
        Some(count)
    }
}

/// wine answers with 0, which no process has.
fn handles() -> Option<u64> {
    let mut count = 0;
    // SAFETY: the handle of the own process is always good, and the number outlives the call.
    let known = unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) } != 0;
    (known && count > 0).then_some(u64::from(count))
}

fn working_set_kb() -> Option<u64> {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..PROCESS_MEMORY_COUNTERS::default() };
    // SAFETY: the structure has the size that is passed, and outlives the call.
    let known = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &mut counters, size) } != 0;
    known.then_some(counters.WorkingSetSize as u64 / 1024)
}
