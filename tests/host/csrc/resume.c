/* The only symbol of the game's lua_shared that LuaJIT lacks: the game exports lua_resume under this name. */
#include "lua.h"

LUA_API int lua_resume_real(lua_State *L, int nargs) { return lua_resume(L, nargs); }
