/* A binary module that prints when it is opened, closed and unmapped, and whether errors unwind its frames. */
#include <stdio.h>

typedef struct lua_State lua_State;
int lua_gettop(lua_State *);
int lua_pushthread(lua_State *);
void lua_settop(lua_State *, int);
void lua_pushstring(lua_State *, const char *);
void lua_pushcclosure(lua_State *, int (*)(lua_State *), int);
void lua_setfield(lua_State *, int, const char *);
void lua_createtable(lua_State *, int, int);
void *lua_newuserdata(lua_State *, size_t);
int lua_setmetatable(lua_State *, int);
int lua_error(lua_State *);
int lua_resume_real(lua_State *, int);

static int opens;

static void say(const char *what, int number) {
    printf("probe %s %d\n", what, number);
    fflush(stdout);
}

static void on_unwind(int *guard) { say("unwound", *guard); }

static int raise(lua_State *L) {
    int guard __attribute__((cleanup(on_unwind))) = 1;
    lua_pushstring(L, "raised");
    return lua_error(L) + guard;
}

static int collect(lua_State *L) {
    (void)L;
    say("collected", 0);
    return 0;
}

static void global(lua_State *L, const char *name, int (*function)(lua_State *)) {
    lua_pushcclosure(L, function, 0);
    lua_setfield(L, -10002, name);
}

int gmod13_open(lua_State *L) {
    say("top", lua_gettop(L));
    say("main", lua_pushthread(L));
    lua_settop(L, 0);
    say("resume", lua_resume_real != 0);
    global(L, "probe_raise", raise);
#ifdef WITH_USERDATA
    lua_newuserdata(L, 8);
    lua_createtable(L, 0, 1);
    lua_pushcclosure(L, collect, 0);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_setfield(L, -10002, "probe_userdata");
#else
    (void)collect;
#endif
    say("open", ++opens);
    return 0;
}

int gmod13_close(lua_State *L) {
    (void)L;
    say("close", opens);
    return 0;
}

__attribute__((destructor)) static void unmapped(void) { say("unmapped", opens); }
