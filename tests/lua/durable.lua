-- Keep and History: arguments, bounds, answers; what is kept and what is not.
local checks = include("checks.lua")
require("realtime")

local fails_with = checks.fails_with

local function refuses(expected, falsy, value, reason)
	assert(value == falsy and type(reason) == "string" and reason:find(expected, 1, true) == 1, tostring(reason))
end

fails_with("bad argument #1 to 'Keep' (string expected, got number)", realtime.Keep, 5)
fails_with("bad argument #2 to 'Keep' (table or false expected, got number)", realtime.Keep, "c", 5)
fails_with("bad argument #2 to 'Keep' (table or false expected, got boolean)", realtime.Keep, "c", true)
fails_with("bad argument #1 to 'History' (string expected, got nil)", realtime.History, nil, 5)
fails_with("bad argument #2 to 'History' (number expected, got no value)", realtime.History, "c")
fails_with("bad argument #3 to 'History' (function expected, got string)", realtime.History, "c", 5, "cb")
refuses("config: ", false, realtime.Keep("c", { max_events = 0 }))
refuses("config: ", false, realtime.Keep("c", { max_age = 2592001 }))
refuses("encode: data.max_age is a function", false, realtime.Keep("c", { max_age = print }))
refuses("encode: a number of the options is not finite", false, realtime.Keep("c", { max_age = 0 / 0 }))
refuses("too_large: the channel has 1025 bytes", false, realtime.Keep(string.rep("c", 1025)))
refuses("encode: n is 1001, 1000 are allowed", nil, realtime.History("c", 1001))
refuses("encode: `c*` is a pattern; name one channel", nil, realtime.History("c*", 5))
local _, unknown = realtime.Keep("c", { max_event = 5 })
assert(unknown:find("did you mean `max_events`?", 1, true), unknown)
-- A player's methods may call the module while the module reads the table.
refuses("config: ", false, realtime.Keep("c", { max_age = host.player({ name = "Jo", methods = { Nick = function()
	realtime.Keep("inside")
	return "Jo"
end } }) }))

assert(realtime.Configure({ sync_timeout_ms = 1000 }))
assert(realtime.Keep("shop:*", { max_events = 1000, max_age = 7 * 86400 }) == true)
assert(realtime.Keep("chat") == true and realtime.Keep("chat", {}) == true and realtime.Keep("never", false) == true)

local heard, asked, list, err = {}, false, nil, nil
realtime.On("chat", "chat", function(message) heard[#heard + 1] = message.text end)
realtime.On("shop:sold", "sold", function() end)

local function check()
	assert(err == nil and #list == 3, tostring(err) .. " " .. tostring(list and #list))
	for n, event in ipairs(list) do
		-- The newest is last; Lua never sees the identity.
		assert(event.data.text == "line " .. n + 7 and event.data._rt == nil and event.channel == "chat")
		assert(math.abs(event.time - os.time()) < 120 and event.id:find("^%d+%-%d+$"), event.id)
		assert(n == 1 or event.time >= list[n - 1].time)
	end
	assert(#heard == 10 and heard[1] == "line 1" and heard[10] == "line 10", "the live path is as it was")
	local now, reason = realtime.History("chat", 1)
	assert(now and #now == 1 and now[1].data.text == "line 10", reason)
	assert(#realtime.History("shop:sold", 5) == 1 and #realtime.History("shop:none", 5) == 0)
	assert(#realtime.History("never", 5) == 0)
	assert(realtime.Stats().kept == 11 and realtime.Stats().not_kept == 0)
	local outside, why = realtime.Command({ "SET", host.arg.prefix .. "rt:kept:text", "no stream" })
	assert(outside, why)
	refuses("redis: WRONGTYPE", nil, realtime.History("text", 5))
end

local deadline, checked = host.mono() + 60, false
local function finish(ok, why)
	timer.Remove("steps")
	checks.finish(ok, why)
end
timer.Create("steps", 0, 0, function()
	if host.mono() > deadline then return finish(false, "late") end
	if realtime.Status() ~= "connected" then return end
	if not asked then
		asked = true
		for n = 1, 10 do assert(realtime.Emit("chat", { text = "line " .. n })) end
		assert(realtime.Emit("shop:sold", { item = "crowbar" }) and realtime.Emit("never", { n = 1 }))
		-- With a callback it is asked behind the events.
		assert(realtime.History("chat", 3, function(...) list, err = ... end) == true)
	end
	if not checked and (list or err) and #heard >= 10 then
		local ok, why = pcall(check)
		if not ok then return finish(false, why) end
		checked = true
	end
	-- Idle queues balance; until then a worker may be between two of its counts.
	if checked and #checks.unbalanced(realtime.Stats(), { "outbox", "inbox", "replies" }) == 0 then finish(true) end
end)
