-- An event that is emitted in `ShutDown` still reaches its hooks, or the next process posts it. With `how=says` this script
-- emits such an event, at a map change first if `map=yes`; with `how=waits` it waits until the remaining posts are sent.
require("realtime")
if host.arg.how == "says" then
	realtime.AddHook("end", { type = "discord", webhook_url = host.arg.discord .. "/api/webhooks/1/token", format = "{text}" })
	local leaves = host.map_changes() == 0 and host.arg.map == "yes"
	hook.Add("ShutDown", "x", function()
		assert(realtime.Emit("end", { text = leaves and "a map ends" or "the server ends" }))
	end)
	timer.Create("end", 0.3, 1, function()
		if leaves then return host.changelevel("gm_next") end
		print("1 passed, 0 failed")
		host.quit(0)
	end)
	return
end
local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	local webhooks = realtime.Stats().webhooks
	local done = webhooks.delivered > 0 and webhooks.waiting == 0
	if not done and host.mono() < deadline then return end
	print(done and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(done and 0 or 1)
end)
