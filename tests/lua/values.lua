-- Values, counters, leaderboards, settings and console commands: arguments, answers, errors.
local checks = include("checks.lua")
local saw, real_print = checks.capture_print()
require("realtime")

local fails_with = checks.fails_with

local function refuses(expected, falsy, value, reason)
	assert(value == falsy and type(reason) == "string" and reason:find(expected, 1, true) == 1, tostring(reason))
end

-- A wrong argument type is a Lua error, and nothing is queued.
fails_with("bad argument #1 to 'Set' (string expected, got number)", realtime.Set, 5, "v")
fails_with("bad argument #2 to 'Set' (string, number, boolean or table expected, got nil)", realtime.Set, "k", nil)
fails_with("bad argument #3 to 'Set' (function expected, got string)", realtime.Set, "k", "v", "cb")
fails_with("bad argument #3 to 'SetEx' (number expected, got no value)", realtime.SetEx, "k", "v")
fails_with("bad argument #4 to 'SetEx' (function expected, got number)", realtime.SetEx, "k", "v", 1, 1)
fails_with("bad argument #1 to 'Get' (string expected, got no value)", realtime.Get)
fails_with("bad argument #2 to 'Get' (function expected, got table)", realtime.Get, "k", {})
fails_with("bad argument #1 to 'GetTable' (string expected, got nil)", realtime.GetTable, nil)
fails_with("bad argument #2 to 'Incr' (number expected, got string)", realtime.Incr, "k", "1")
fails_with("bad argument #3 to 'Incr' (function expected, got number)", realtime.Incr, "k", 1, 1)
fails_with("bad argument #1 to 'Del' (string expected, got no value)", realtime.Del)
fails_with("bad argument #1 to 'Del' (string expected, got function)", realtime.Del, print)
fails_with("bad argument #2 to 'Del' (string expected, got nil)", realtime.Del, "k", nil)
fails_with("bad argument #12 to 'Del' (string expected, got boolean)", realtime.Del,
	"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", true)
fails_with("bad argument #2 to 'Expire' (number expected, got no value)", realtime.Expire, "k")
fails_with("bad argument #1 to 'Command' (table expected, got string)", realtime.Command, "PING")
fails_with("bad argument #2 to 'GetLeaderboard' (number expected, got no value)", realtime.GetLeaderboard, "b")
fails_with("bad argument #1 to 'Configure' (table expected, got no value)", realtime.Configure)
fails_with("values.lua:", function() realtime.Get(5) end)

-- A wrong value is answered with a reason, and nothing happens.
refuses("encode: data.f is a function", false, realtime.Set("k", { f = print }))
refuses("encode: the value is not a finite number", false, realtime.Set("k", 0 / 0))
refuses("encode: seconds is 0, expected a whole number from 1 on", false, realtime.SetEx("k", "v", 0))
refuses("encode: by is inf", false, realtime.Incr("k", 1 / 0))
refuses("encode: n is 0", nil, realtime.GetLeaderboard("b", 0))
refuses("encode: the board has more than one `*`", nil, realtime.GetLeaderboard("a*b*", 5))
refuses("encode: SUBSCRIBE cannot be sent: use realtime.On", false, realtime.Command({ "subscribe", "x" }))
refuses("encode: the command has no name", false, realtime.Command({}))
refuses("encode: word 2 of the command is a table", false, realtime.Command({ "PING", {} }))
refuses("too_large: the key has 1025 bytes", false, realtime.Set(string.rep("k", 1025), 1))
refuses("too_large: the key has 1025 bytes", nil, realtime.Get(string.rep("k", 1025)))
refuses("config: cannot use option `colour` of Configure: unknown option", false, realtime.Configure({ colour = "red" }))
refuses("config: cannot use option `prefx` of Configure: unknown option, did you mean `prefix`?", false,
	realtime.Configure({ prefx = "x" }))
refuses("config: cannot use option `redis` of Configure: expected redis://", false,
	realtime.Configure({ redis = "redis://:hunter2@:x" }))
assert(realtime.Configure({}) == true)
-- A busy machine must not make readers fail.
assert(realtime.Configure({ emit_age_max_s = 30, identity = true, sync_timeout_ms = 1000 }) == true)

-- A player's methods may call the module while the module calls them: the engine is not borrowed then.
local ply = host.player({ name = "John", methods = { Nick = function()
	realtime.Get("from:Nick")
	realtime.Set("from:Nick", "x")
	return "John"
end } })

local function run()
	-- A reader sees what the script wrote before.
	for value, stored in pairs({ [""] = "", ["a\0b"] = "a\0b", [5] = "5", [-0.5] = "-0.5", [2 ^ 53] = "9007199254740992", [true] = "true", [false] = "false" }) do
		assert(realtime.Set("k", value) == true)
		local read, reason = realtime.Get("k")
		assert(read == stored, tostring(value) .. " reads " .. tostring(read) .. " " .. tostring(reason))
	end
	assert(select("#", realtime.Get("none")) == 1 and realtime.Get("none") == nil)
	assert(realtime.Set("t", { who = ply, list = { 1, 2 }, deep = { a = { b = "c" } } }))
	local t = realtime.GetTable("t")
	assert(t.who.name == "John" and #t.list == 2 and t.deep.a.b == "c")
	assert(realtime.GetTable("none") == nil)
	realtime.Set("text", "no json")
	refuses("decode: the value has 7 bytes and is no JSON", nil, realtime.GetTable("text"))
	assert(tonumber(realtime.Get("none") or 0) == 0)
	assert(realtime.SetEx("ex", "John", 86400))
	realtime.Command({ "LPUSH", host.arg.prefix .. "list", 1, true, 2.5 })
	refuses("redis: WRONGTYPE", nil, realtime.Get("list"))
	assert(realtime.Incr("n") and realtime.Incr("n", 5) and realtime.Incr("n", -2) and realtime.Get("n") == "4")
	assert(realtime.Del("k", "t") and realtime.Get("k") == nil)
	assert(realtime.Expire("n", 100))
	for name, kills in pairs({ John = 50, Alice = 45, Bob = 7 }) do realtime.Set("kills:" .. name .. ":daily", kills) end
	local map, ranked = realtime.GetLeaderboard("kills:*:daily", 2)
	assert(map, ranked)
	assert(map.John == 50 and map.Alice == 45 and map.Bob == nil)
	assert(#ranked == 2 and ranked[1].rank == 1 and ranked[1].name == "John" and ranked[2].score == 45)
	local map, ranked = realtime.GetLeaderboard("none:*", 2)
	assert(next(map) == nil and #ranked == 0)
	local big = string.rep("x", 4 * 1024 * 1024)
	assert(realtime.Set("big", big))
	local value, reason = realtime.Get("big")
	assert(value == big or reason:find("^timeout"), reason)
	assert(coroutine.wrap(function() return realtime.Get("n") end)() == "4")
end

local answers, expected = {}, {}
local function callback(name, ...)
	expected[name] = { n = select("#", ...), ... }
	return function(...) answers[name] = { n = select("#", ...), ... } end
end

local function ask()
	assert(realtime.Set("cb", "v", callback("Set", true)))
	assert(realtime.SetEx("cb2", "v", 50, callback("SetEx", true)) == true)
	assert(realtime.Get("cb", callback("Get", "v")) == true)
	assert(realtime.Get("none", callback("Get none", nil)) == true)
	assert(realtime.Get("list", callback("Get a list", nil, "redis: WRONGTYPE Operation against a key holding the wrong kind of value")))
	assert(realtime.Incr("cb3", callback("Incr", 1)))
	assert(realtime.Incr("cb3", 2, callback("Incr by", 3)))
	assert(realtime.Incr("cb4", 2 ^ 53, callback("Incr big", 2 ^ 53)))
	assert(realtime.Incr("cb4", 1, callback("Incr past 2^53", "9007199254740993")))
	assert(realtime.Del("cb", "cb2", "none", callback("Del", 2)))
	assert(realtime.Expire("cb3", 50, callback("Expire", 1)))
	assert(realtime.Command({ "TTL", host.arg.prefix .. "cb3" }, callback("Command", 50)))
	assert(realtime.Command({ "PING" }, callback("Command status", "PONG")))
	assert(realtime.Command({ "NOSUCH" }, function(value, err)
		answers.nosuch = value == nil and err:find("^redis: ERR unknown command") ~= nil
	end))
	assert(realtime.GetTable("text", function(value, err) answers.json = value == nil and err:find("^decode: ") ~= nil end))
	assert(realtime.GetLeaderboard("kills:*:daily", 1, function(map, err, ranked)
		answers.board = map.John == 50 and err == nil and #ranked == 1 and ranked[1].name == "John"
		-- A callback may call everything, also a reader that waits.
		answers.inside = realtime.Get("n") == "4" and realtime.Set("inside", 1)
	end))
	realtime.Get("n", function() error("on purpose") end)
end

-- The module releases callbacks: the registry does not grow.
local function references() return #debug.getregistry() end
local rounds, before = 0, nil
local function many()
	rounds = rounds + 1
	for n = 1, 100 do realtime.Get("n", function() return n end) end
end

local told = {}
hook.Add("RealtimeError", "test", function(operation, target, reason) told[operation .. " " .. target] = reason end)

local step, deadline, errors = 1, host.mono() + 60, nil
local steps = {
	function() return realtime.Status() == "connected" end,
	function() run() errors = host.errors() ask() return true end,
	function()
		for name, values in pairs(expected) do
			local answer = answers[name]
			if not answer then return false end
			assert(answer.n == values.n and answer[1] == values[1] and answer[2] == values[2],
				name .. " was told " .. tostring(answer[1]) .. ", " .. tostring(answer[2]))
		end
		if answers.inside == nil or host.errors() == errors then return false end
		assert(answers.nosuch and answers.json and answers.board and answers.inside)
		assert(realtime.Incr("list")) -- Without a callback: the failure is reported by `RealtimeError`.
		return true
	end,
	function() return told["incr list"] ~= nil and told["incr list"]:find("^redis: WRONGTYPE") ~= nil end,
	function()
		if realtime.Stats().callbacks > 0 then return false end
		if rounds == 20 then
			assert(references() <= before, "references leaked: " .. references() - before)
			return true
		end
		many()
		if rounds == 10 then before = references() end
		return false
	end,
	-- Console commands are for the server's console and superadmins; Joe is neither.
	function()
		local joe = host.player({ name = "Joe" })
		concommand.Run(joe, "realtime_status", {})
		concommand.Run(joe, "realtime_selftest", {})
		assert(not saw("to redis (outbox): in ") and not saw("self-test"))
		host.command("realtime_status")
		assert(saw(": connected for ") and saw("to redis (outbox): in ") and saw("server `"))
		host.command("realtime_selftest")
		host.command("realtime_selftest")
		assert(saw("a self-test is running already"))
		return true
	end,
	function() return saw("[realtime] self-test passed") end,
	function()
		for _, name in ipairs({ "game", "settings", "platform", "file", "resolve", "connect", "log in", "role", "kind", "publish", "values", "counters" }) do
			assert(saw("[realtime] " .. name), name)
		end
		assert(saw("version " .. VERSIONSTR .. ", branch " .. BRANCH) and saw(jit.version .. ", " .. jit.os .. " " .. jit.arch))
		-- Get near the end of the Lua stack.
		local function deeper(n) realtime.Get("n") return deeper(n + 1) + 1 end
		local ok, message = pcall(deeper, 1)
		assert(not ok and message:find("stack overflow", 1, true), message)
		return true
	end,
	-- Idle queues balance; until then a worker may be between two of its counts.
	function() return #checks.unbalanced(realtime.Stats(), { "outbox", "inbox", "notices", "replies" }) == 0 end,
}

timer.Create("steps", 0, 0, function()
	local late = host.mono() > deadline
	local ok, done = xpcall(steps[step], function(message) return debug.traceback(message, 1) end)
	if ok and done then step = step + 1 end
	if ok and not late and step <= #steps then return end
	if not ok then real_print(done) end
	if late then real_print("step " .. step .. " took too long") end
	local stats = realtime.Stats()
	if stats.panics > 0 then ok = false real_print("panics") end
	ok = ok and step > #steps
	real_print(ok and (#steps .. " passed, 0 failed") or "0 passed, 1 failed")
	host.quit(ok and 0 or 1)
end)
