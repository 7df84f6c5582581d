/* The one function of bcryptprimitives.dll that Rust's standard library takes random bytes from. Real Windows has the library,
   wine 8 does not: scripts/wine puts this one into its Windows folder. */
#include <windows.h>

/* RtlGenRandom of advapi32: https://learn.microsoft.com/en-us/windows/win32/api/ntsecapi/nf-ntsecapi-rtlgenrandom */
BOOLEAN WINAPI SystemFunction036(void *bytes, ULONG len);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *bytes, SIZE_T len) {
	const SIZE_T once = 0x10000000;
	while (len > 0) {
		ULONG part = (ULONG)(len > once ? once : len);
		if (!SystemFunction036(bytes, part)) return FALSE;
		bytes += part;
		len -= part;
	}
	return TRUE;
}
