-- The operator's settings file cannot be understood: nothing connects, and status, errors and self-test say why.
-- Then the test corrects the file, and `realtime_reload` reads it.
local saw, real_print = include("checks.lua").capture_print()
require("realtime")

local told
hook.Add("RealtimeError", "test", function(operation, target, reason) told = operation .. " " .. target .. ": " .. reason end)
assert(realtime.Configure({ redis = "redis://127.0.0.1:1" }) == true)
assert(realtime.Set("early", 1) == true)

local steps = {
	function()
		local state, detail = realtime.Status()
		if not told or not detail:find("settings not understood", 1, true) then return false end
		assert(state == "connecting" and told:find("settings not understood", 1, true), told)
		local value, reason = realtime.Get("k")
		assert(value == nil and reason:find("disconnected: settings not understood", 1, true) == 1, reason)
		local joe = host.player({ name = "Joe" })
		concommand.Run(joe, "realtime_reload", {})
		assert(not saw("nothing changed") and not saw("settings: cannot use"))
		host.command("realtime_status")
		assert(saw("settings: cannot use garrysmod/cfg/realtime.json: is not JSON") and saw("budget 800 us"))
		host.command("realtime_selftest")
		return true
	end,
	function() return saw("self-test failed: 1 of its steps") end,
	function()
		assert(saw("[realtime] settings  FAILED cannot use garrysmod/cfg/realtime.json"))
		-- The other options of this script and of the environment are in force all the same.
		assert(saw("garrysmod/cfg/realtime.json sets no option; ") and saw("; in force: server `") and saw(", no redis."))
		assert(saw("[realtime] file") and not saw("[realtime] resolve") and not saw("[realtime] connect "))
		host.command("realtime_reload")
		assert(saw("[realtime] nothing connects to redis; correct them"))
		print("waiting for the file")
		return true
	end,
	function()
		host.command("realtime_reload")
		return saw("[realtime] settings read: redis at ")
	end,
	function() return realtime.Status() == "connected" and realtime.Stats().outbox.waiting == 0 end,
	function()
		-- A value that was set before the prefix was known is dropped: it is not written without a prefix.
		assert(realtime.Stats().outbox.dropped.settings == 1)
		assert(realtime.Set("early", 1) == true)
		return true
	end,
	function() return realtime.Stats().outbox.waiting == 0 end,
}
local at = 1
timer.Create("steps", 0, 0, function()
	if steps[at]() then at = at + 1 end
	if at <= #steps then return end
	timer.Remove("steps")
	real_print("1 passed, 0 failed")
	host.quit(0)
end)
