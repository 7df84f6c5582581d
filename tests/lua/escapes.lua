-- A too large event on a channel whose name holds a line break and a colour code: neither may reach the console.
require("realtime")
realtime.On("evil*", "x", function() end)
-- When this event arrives, the subscriptions before it are in force.
realtime.On("ready", function() print("ready") end)
realtime.Emit("ready", { 1 })
hook.Add("RealtimeError", "x", function(operation, target, reason)
	assert(operation == "receive" and target == "evil\n\27[31mFAKE\r", target)
	assert(reason:find("^too_large: "), reason)
	-- The same kind of name in the error of a listener.
	realtime.On("evil\n\27x", "y", function() error("on purpose") end)
	realtime.Emit("evil\n\27x", { 1 })
	timer.Create("end", 0, 0, function()
		if host.errors() == 0 then return end
		print("1 passed, 0 failed")
		host.quit(0)
	end)
end)
