/* The one symbol of the game's lua_shared that LuaJIT lacks: the name under which its lua_resume is exported. */
#include "lua.h"

LUA_API int lua_resume_real(lua_State *L, int nargs) { return lua_resume(L, nargs); }
