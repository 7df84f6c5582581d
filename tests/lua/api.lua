-- Rules of the API that need one server only.
local checks = include("checks.lua")
require("realtime")
require("realtime") -- A second `require` changes nothing.

local api = {}
for _, name in ipairs({ "Emit", "On", "Off", "Status", "Stats" }) do api[name] = realtime[name] end

local fails_with = checks.fails_with

local tests, heard = {}, {}
local function eventually(name, done) tests[#tests + 1] = { name = name, done = done } end

-- A wrong argument type is a Lua error in Lua's usual words, with the line of the caller.
fails_with("bad argument #1 to 'Emit' (string expected, got no value)", realtime.Emit)
fails_with("bad argument #1 to 'Emit' (string expected, got number)", realtime.Emit, 5, {})
fails_with("bad argument #2 to 'Emit' (table, string, number or boolean expected, got nil)", realtime.Emit, "a", nil)
fails_with("bad argument #2 to 'Emit' (table, string, number or boolean expected, got userdata)", realtime.Emit, "a", realtime.Null)
fails_with("bad argument #1 to 'On' (string expected, got nil)", realtime.On, nil, print)
fails_with("bad argument #2 to 'On' (function expected, got nil)", realtime.On, "a", nil)
fails_with("bad argument #3 to 'On' (function expected, got no value)", realtime.On, "a", "id")
fails_with("bad argument #1 to 'Off' (string expected, got table)", realtime.Off, {})
fails_with("bad argument #2 to 'Off' (string expected, got number)", realtime.Off, "a", 5)
fails_with("api.lua:", function() realtime.Emit(5) end)
-- The same inside a coroutine, which is another Lua state.
local co = coroutine.wrap(function() return pcall(realtime.Emit, 5) end)
local ok, message = co()
assert(ok == false and message:find("bad argument #1 to 'Emit'", 1, true), message)
for _ = 1, 2000 do pcall(realtime.On, "a", 5) end
assert(coroutine.wrap(function() return realtime.Emit("coroutine", { 1 }) end)() == true)

-- Emit near the end of the Lua stack, at every depth.
local function deeper(n) realtime.Emit("deep", { { print } }) return deeper(n + 1) + 1 end
local ok, message = pcall(deeper, 1)
assert(not ok and message:find("stack overflow", 1, true), message)

-- A name over the limit is refused; it is not cut.
local ok, reason = realtime.Emit(string.rep("x", 1025), { 1 })
assert(ok == false and reason == "too_large: the channel has 1025 bytes, 1024 are allowed", reason)
local id, reason = realtime.On(string.rep("x", 1025), print)
assert(id == nil and reason:find("^too_large: the channel"), reason)

-- Ids: the same id replaces a listener, no id adds one.
assert(realtime.On("ids", "mine", function() heard.first = true end) == "mine")
assert(realtime.On("ids", "mine", function() heard.second = true end) == "mine")
local own = realtime.On("ids", function() heard.own = true end)
assert(type(own) == "string" and own ~= "mine")
realtime.Emit("ids", { 1 })
eventually("the same id replaces a listener, no id adds one", function() return heard.second and heard.own and not heard.first end)

-- One event for listeners of the channel and of patterns: each hears it once, with its own meta.
local exact, pattern, order = 0, 0, {}
realtime.On("meta:x", "1", function(data, channel, meta)
	exact = exact + 1
	order[#order + 1] = "1"
	assert(channel == "meta:x" and meta.pattern == nil and meta.raw == nil)
	data.changed = true
end)
realtime.On("meta:x", "2", function(data) order[#order + 1] = data.changed and "shared" or "2" end)
realtime.On("meta:*", "p", function(data, channel, meta)
	pattern = pattern + 1
	assert(channel == "meta:x" and meta.pattern == "meta:*" and data.n == 1)
end)
realtime.On("meta:?", function(...) heard.varargs = select("#", ...) end)
realtime.Emit("meta:x", { n = 1 })
eventually("each listener hears an event once", function() return exact == 1 and pattern == 1 and heard.varargs == 3 end)
eventually("listeners run in the order of registration, each with its own table", function() return table.concat(order) == "12" end)

-- An error in one listener does not stop the others, and a callback may call the module.
local before = host.errors()
realtime.On("errors", "raises", function() error("on purpose") end)
realtime.On("errors", "overflows", function() local function f() return 1 + f() end f() end)
realtime.On("errors", "odd", function() error(setmetatable({}, { __tostring = function() error("twice") end })) end)
realtime.On("errors", "yields", function() coroutine.yield() end)
realtime.On("errors", "last", function() heard.last = true end)
realtime.Emit("errors", { 1 })
eventually("an error is reported and stops no other listener", function() return heard.last and host.errors() >= before + 4 end)

local selfless = 0
realtime.On("self", "off", function()
	selfless = selfless + 1
	assert(realtime.Off("self", "off") == 1)
	realtime.Emit("self", { 2 })
	realtime.On("self:again", "x", function() heard.again = true end)
	realtime.Emit("self:again", { 3 })
end)
realtime.Emit("self", { 1 })
eventually("a callback can remove itself, listen and emit", function() return heard.again and selfless == 1 end)

local replaced = 0
local function replace()
	replaced = replaced + 1
	realtime.On("replace", "x", replace)
end
realtime.On("replace", "x", replace)
realtime.Emit("replace", { 1 })
eventually("a callback can replace itself", function() return replaced == 1 end)

-- Registry references of removed listeners are freed.
local function references() return #debug.getregistry() end
for n = 1, 100 do realtime.On("references", "x" .. n, print) end
realtime.Off("references")
local before = references()
for round = 1, 1000 do
	realtime.On("references", "x", function() return round end)
	realtime.On("references", function() return round end)
	realtime.On("references", "x", print)
	assert(realtime.Off("references") == 2)
end
assert(references() == before, references() - before .. " references leaked")

realtime.On("off", "a", print)
realtime.On("off", "b", print)
assert(realtime.Off("off", "nobody") == 0 and realtime.Off("off", "a") == 1 and realtime.Off("off") == 1)
assert(realtime.Off("off") == 0 and realtime.Off("never") == 0)

-- The module table holds the version and the null value.
assert(type(realtime.Version) == "string" and type(realtime.Null) == "userdata")

-- Holds once the queues are idle: until then a worker may be between two of its counts.
eventually("every queue balances", function()
	return #checks.unbalanced(realtime.Stats(), { "outbox", "inbox", "notices" }) == 0
end)

local deadline = host.mono() + 60
timer.Create("tests", 0, 0, function()
	local left = {}
	for _, test in ipairs(tests) do if not test.done() then left[#left + 1] = test.name end end
	local late = host.mono() > deadline
	if #left > 0 and not late then return end
	for _, name in ipairs(left) do print("FAIL " .. name) end
	local stats = realtime.Stats()
	assert(stats.panics == 0, "panics: " .. stats.panics)
	assert(realtime.Status() == "connected")
	print((#tests - #left) .. " passed, " .. #left .. " failed")
	host.quit(#left == 0 and 0 or 1)
end)
