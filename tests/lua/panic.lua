-- The test injects a panic at `place`: that call is answered with a reason, and everything else keeps working.
local place = host.arg.place
local opened, message = pcall(require, "realtime")
if place == "open" then
	assert(not opened and tostring(message):find("internal error", 1, true), tostring(message))
	print("1 passed, 0 failed")
	return host.quit(0)
end
assert(opened, message)

-- Whether a call answered as one that panicked.
local function answered(ok, reason) return ok == false and tostring(reason):find("^closed: internal error") ~= nil end

local heard
local on = { realtime.On("panic", "x", function() heard = true error("for the context") end) }
local hooked = { realtime.AddHook("panic", "x", { type = "counter", key = "k" }) }
local emitted = { realtime.Emit("panic", { n = 1 }) }
local off = { realtime.Off("nobody") }
local status, stats = { realtime.Status() }, { realtime.Stats() }
local calls = {
	set = { realtime.Set, "k", 1 }, set_ex = { realtime.SetEx, "k", 1, 1 }, get = { realtime.Get, "k" },
	get_table = { realtime.GetTable, "k" }, incr = { realtime.Incr, "n" }, del = { realtime.Del, "k" },
	expire = { realtime.Expire, "k", 1 }, command = { realtime.Command, { "PING" } },
	remove_hook = { realtime.RemoveHook, "x" },
	add_aggregator = { realtime.AddAggregator, "x", { interval = 1, aggregate = print, actions = {} } },
	remove_aggregator = { realtime.RemoveAggregator, "x" },
	get_leaderboard = { realtime.GetLeaderboard, "b", 1 }, configure = { realtime.Configure, {} },
	read_event_log = { realtime.ReadEventLog, "panic.log" },
}
for name, call in pairs(calls) do
	assert(answered(call[1](unpack(call, 2))) == (place == name), name)
end
-- A console command that panics reports to the console only; it raises no Lua error.
local before = host.errors()
host.command("realtime_status")
host.command("realtime_selftest")
host.command("realtime_reload")
assert(host.errors() == before)
assert(answered(unpack(on)) == (place == "on"))
assert(answered(unpack(hooked)) == (place == "add_hook"))
assert(answered(unpack(emitted)) == (place == "emit"))
assert(answered(unpack(off)) == (place == "off"))
assert(answered(unpack(status)) == (place == "status"))
assert(answered(unpack(stats)) == (place == "stats"))

local start, emitted_at = host.mono(), host.mono()
timer.Create("end", 0, 0, function()
	-- If the panic stops all events, waiting a short while is enough; `pumped` is called once a second.
	-- Each worker panics three times, then works again.
	local flows = place ~= "pump" and place ~= "on" and place ~= "emit"
	local waited = host.mono() - start
	-- An event that arrives while the subscriber is down between two of its panics is lost.
	if place == "subscriber" and not heard and host.mono() - emitted_at > 1 then
		emitted_at = host.mono()
		assert(realtime.Emit("panic", { n = 1 }))
	end
	if flows and not heard and waited < 60 or waited < (place == "pumped" and 1.5 or 0.2) then return end
	local fine = heard == (flows or nil)
	if place ~= "stats" then
		fine = fine and realtime.Stats().panics > 0
	end
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(fine and 0 or 1)
end)
