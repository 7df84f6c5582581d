-- The ways in which a server ends; `how` names one. The test counts the events that it hears from Redis.
local how = host.arg.how
if how == "skipped" and host.map_changes() == 1 then
	-- This Lua state never loads the module, and it is closed like any other.
	timer.Create("next", 0.1, 1, function() host.changelevel("gm_next") end)
	return
end
require("realtime")
require("realtime")
local connected = false
hook.Add("RealtimeConnected", "x", function() connected = true end)
if how == "shutdown" then
	hook.Add("ShutDown", "x", function() assert(realtime.Emit("ends", { last = true })) end)
end
realtime.On("ends", "x", function() end)
timer.Create("end", 0, 0, function()
	if not connected then return end
	timer.Remove("end")
	for n = 1, 500 do assert(realtime.Emit("ends", { n = n })) end
	if how == "exit_now" then return host.exit_now(7) end
	if how == "skipped" and host.map_changes() == 0 then return host.changelevel("gm_next") end
	print("1 passed, 0 failed")
	host.quit(0)
end)
