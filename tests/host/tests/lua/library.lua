-- Strings, tables, numbers, types, files, convars: the everyday library of scripts.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local tests = {}

function tests.teams()
    same(team.GetName(1001), "Unassigned")
    team.SetUp(1, "Police")
    same(team.GetName(1) .. team.GetName(77), "Police")
end

function tests.strings()
    same(table.concat(string.Explode(",", "a,b,,c"), "|"), "a|b||c")
    same(table.concat(string.Explode("", "abc"), "|"), "a|b|c")
    same(table.concat(string.Explode("%d", "a1b2c", true), "|"), "a|b|c")
    same(("hello"):StartWith("he") and ("hello"):StartsWith("he") and ("hello"):EndsWith("lo"), true)
    same(("  x y "):Trim(), "x y")
    same(("//x//"):Trim("/"), "x")
    same(("a.b.c"):Replace(".", "%"), "a%b%c")
    same(("abc")[2], "b")
    same(string.Comma(1234567), "1,234,567")
end

function tests.tables()
    same(table.Count({ 1, 2, a = 3 }), 3)
    same(table.HasValue({ "x", "y" }, "y"), true)
    local original = { deep = { 1 }, v = Vector(1, 2, 3) }
    original.me = original
    local copy = table.Copy(original)
    copy.deep[1], copy.v.x = 2, 9
    same(original.deep[1], 1)
    same(original.v.x, 1)
    same(copy.me, copy)
    local names = {}
    for key in SortedPairs({ b = 1, a = 2 }) do names[#names + 1] = key end
    same(table.concat(names), "ab")
end

function tests.numbers()
    same(math.Round(2.345, 2), 2.35)
    same(math.Round(-1.5), -1)
    same(math.Clamp(5, 1, 3), 3)
    same(tobool("false"), false)
    same(tobool("1"), true)
    same(util.CRC("123456789"), "3421780262")
end

function tests.types()
    local v, a = Vector(1, 2, 3), Angle(10, 20, 30)
    same(type(v), "Vector")
    same(type(a), "Angle")
    same(type(Color(1, 2, 3)), "table")
    same(type(1), "number")
    same(TypeID(v), TYPE_VECTOR)
    same(isvector(v) and isangle(a) and isentity(NULL) and IsColor(Color(1, 2, 3)), true)
    same(isvector(a) or isentity(v) or IsColor({ r = 1 }) or istable(v), false)
    same(isstring("") and isnumber(0) and isfunction(print) and isbool(false) and istable({}), true)
    same(pcall(type), false)
    same(FindMetaTable("Vector"), debug.getmetatable(v))
    same(FindMetaTable("host"), nil)
end

function tests.vectors()
    local v = Vector(1, 2, 3)
    same(tostring(v), "1.000000 2.000000 3.000000")
    same(v + Vector(1, 1, 1) == Vector(2, 3, 4), true)
    same((v * 2).z + (2 * v).z, 12)
    same((-v).x, -1)
    same(Vector(0.1).x == 0.1, false) -- float32, as in the game
    same(Vector(3, 4, 0):Length(), 5)
    same(Vector("4 5 6").y, 5)
    v.y = 7
    same(v[2], 7)
    local a = Angle(1, 2, 3)
    same(a.p + a.yaw + a.r, 6)
    same(pcall(function() v.w = 1 end), false)
end

function tests.files()
    file.CreateDir("dir/sub")
    same(file.IsDir("dir/sub", "DATA"), true)
    same(file.Write("dir/a.txt", "one\0two"), true)
    file.Append("dir/a.txt", "!")
    same(file.Read("dir/a.txt"), "one\0two!")
    same(file.Read("data/dir/a.txt", "GAME"), "one\0two!")
    same(file.Size("dir/a.txt", "DATA"), 8)
    file.Write("dir/b.json", "{}")
    local files, dirs = file.Find("dir/*", "DATA")
    same(table.concat(files, " ") .. "/" .. table.concat(dirs, " "), "a.txt b.json/sub")
    same(#file.Find("dir/*.txt", "DATA"), 1)
    same(file.Write("evil.lua", "x"), false)
    same(file.Write("../evil.txt", "x"), false)
    same(file.Read("../cfg/server.cfg"), nil)
    same(file.Read("/etc/hostname", "GAME"), nil)
    same(file.Read("nothing.txt"), nil)
    same(file.Delete("dir/a.txt"), true)
    same(file.Exists("dir/a.txt", "DATA"), false)
end

function tests.convars()
    local var = CreateConVar("test_var", 5, FCVAR_ARCHIVE, "help", 1, 10)
    same(var:GetInt() + var:GetFloat() + tonumber(var:GetString()), 15)
    same(var:GetBool(), true)
    same(GetConVar("TEST_VAR"), var)
    same(GetConVar("no_such_var"), nil)
    same(type(var), "ConVar")
    local seen
    cvars.AddChangeCallback("test_var", function(name, old, new) seen = name .. old .. new end, "id")
    var:SetInt(99)
    same(var:GetInt(), 10)
    same(seen, "test_var510")
    host.command("test_var 2")
    same(var:GetInt(), 2)
end

function tests.the_game_lacks_these()
    for _, name in ipairs({ "io", "package", "ffi", "load", "loadstring", "dofile", "loadfile", "newproxy", "native" }) do
        same(_G[name], nil)
    end
    same(os.execute, nil)
    same(isfunction(host.io.open), true)
end

function tests.compiling()
    same(CompileString("return 1 // one", "x")(), 1)
    same(isstring(CompileString("return (", "x", false)), true)
    same(pcall(include, "nothing.lua"), false)
    same(select(2, pcall(error, "plain", 0)), "plain")
end

function tests.host_facts()
    local resources = host.resources()
    for _, name in ipairs({ "threads", "fds", "rss_kb", "maps", "lua_kb" }) do
        if not (resources[name] > 0) then error(name .. " is " .. tostring(resources[name])) end
    end
    same(host.now() >= host.frame_start() and host.mono() < 60, true)
    same(math.abs(host.now() - os.time()) < 2, true)
    same(host.pid() > 1, true)
    same(host.env("PATH") ~= nil and host.env("NO_SUCH_VARIABLE") == nil and host.env("A=B") == nil, true)
    same(pcall(host.store, "key", {}), false)
end

host.run_tests(tests)
host.quit()
