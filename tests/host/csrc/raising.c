/* Makes the functions of the Lua API that allocate memory raise an error when a module calls them. LuaJIT up to 2.1.0-beta3
   does so if a step of its collector runs a `__gc` that raises an error, and every LuaJIT does so without memory.
   The build renames LuaJIT's own functions to `real_...`; LuaJIT's own calls are not changed. */
#define _GNU_SOURCE
#include <string.h>
#include "lauxlib.h"
#include "lua.h"

/* `in_module`: whether this address is in the library of a module. */
#ifdef _WIN32
#include <windows.h>

static int in_module(void *address) {
	char name[MAX_PATH];
	HMODULE library;
	DWORD how = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
	if (!GetModuleHandleExA(how, address, &library)) return 0;
	DWORD len = GetModuleFileNameA(library, name, MAX_PATH);
	return len > 0 && len < MAX_PATH && strstr(name, "gmsv_");
}
#else
#include <dlfcn.h>

static int in_module(void *address) {
	Dl_info info;
	return dladdr(address, &info) && info.dli_fname && strstr(info.dli_fname, "gmsv_");
}
#endif

/* The number of calls until errors are raised, and the number of errors; 0: none. */
static int calls_left, errors_left;

static void allocates(lua_State *L, void *caller) {
	if (errors_left == 0 || !in_module(caller)) return;
	if (calls_left > 0 && --calls_left > 0) return;
	errors_left--;
	luaL_error(L, "from a __gc");
}
#define ALLOCATES(L) allocates(L, __builtin_return_address(0))

void real_lua_pushlstring(lua_State *L, const char *text, size_t len);
void real_lua_createtable(lua_State *L, int elements, int members);
void real_lua_pushcclosure(lua_State *L, lua_CFunction function, int upvalues);
void real_lua_concat(lua_State *L, int count);
void real_lua_rawset(lua_State *L, int table);
int real_luaL_ref(lua_State *L, int table);

void lua_pushlstring(lua_State *L, const char *text, size_t len) { ALLOCATES(L); real_lua_pushlstring(L, text, len); }
void lua_createtable(lua_State *L, int elements, int members) { ALLOCATES(L); real_lua_createtable(L, elements, members); }
void lua_pushcclosure(lua_State *L, lua_CFunction function, int upvalues) {
	ALLOCATES(L);
	real_lua_pushcclosure(L, function, upvalues);
}
void lua_concat(lua_State *L, int count) { ALLOCATES(L); real_lua_concat(L, count); }
void lua_rawset(lua_State *L, int table) { ALLOCATES(L); real_lua_rawset(L, table); }
int luaL_ref(lua_State *L, int table) { ALLOCATES(L); return real_luaL_ref(L, table); }

/* raise_at(n [, count]) -> the number of errors of the last order that were not raised. From now on the n-th call of a
   module that allocates memory raises an error, and so do the `count` - 1 calls after it; n = 0: none. Scripts load this as
   a C function of this library. */
int host_raise_at(lua_State *L) {
	int unraised = errors_left;
	calls_left = (int)luaL_checkinteger(L, 1);
	errors_left = calls_left > 0 ? (int)luaL_optinteger(L, 2, 1) : 0;
	lua_pushinteger(L, unraised);
	return 1;
}
