-- One server of a fleet. All servers have the same hooks, from addons in different folders; each emits `count` kills, `rate` a second, then waits until
-- nothing is left to do. The test kills one of them half-way.
require("realtime")
local name, count, rate = host.arg.fleet, tonumber(host.arg.count), tonumber(host.arg.rate)

realtime.AddHook("kill", "discord", { type = "discord", webhook_url = host.arg.discord .. "/api/webhooks/1/x", format = "{who} {n}" })
realtime.AddHook("kill", "counter", { type = "counter", key = "kills:{who}" })
RunString([[
	realtime.AddHook("kill", "conditional", { type = "conditional", condition = function() return true end,
		actions = { { type = "counter", key = "conditional:{who}" } } })
]], host.arg.folder .. "autorun/kills.lua")

local sent, began, idle_since = 0, nil, nil
timer.Create("emit", 0, 0, function()
	if not began then
		if realtime.Status() ~= "connected" then return end
		began = host.mono()
		print("ready")
	end
	local due = math.min(count, math.floor((host.mono() - began) * rate) + 1)
	while sent < due do
		sent = sent + 1
		assert(realtime.Emit("kill", { who = name, n = sent }))
		if sent == count / 2 then print("half") end
	end
	local stats = realtime.Stats()
	local waiting = stats.inbox.waiting + stats.outbox.waiting + stats.actions.waiting + stats.webhooks.waiting
	idle_since = sent == count and waiting == 0 and (idle_since or host.mono()) or nil
	if idle_since and host.mono() > idle_since + 1 then
		print("1 passed, 0 failed")
		host.quit(0)
	end
end)
