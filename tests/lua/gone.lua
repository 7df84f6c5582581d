-- A receiver answers 410 (gone). Its hook gets no further request until the hook is added again.
require("realtime")
local function add() assert(realtime.AddHook("kill", "gone", { type = "http", url = host.arg.web })) end
local function emit() assert(realtime.Emit("kill", { n = 1 })) end

add()
local steps = {
	function() emit() end,
	function(stats)
		local destination = stats.destinations[1]
		if not destination or destination.state ~= "closed" then return true end
		assert(destination.detail == "HTTP 410: moved away", destination.detail)
		emit()
	end,
	function(stats)
		if stats.webhooks.dropped.closed ~= 2 then return true end
		add()
		emit()
	end,
	function(stats)
		if stats.webhooks.delivered ~= 1 then return true end
		assert(stats.destinations[1].state == "ok", stats.destinations[1].state)
		print("1 passed, 0 failed")
		host.quit(0)
	end,
}
timer.Create("step", 0, 0, function()
	if realtime.Status() ~= "connected" or not steps[1] then return end
	if not steps[1](realtime.Stats()) then table.remove(steps, 1) end
end)
