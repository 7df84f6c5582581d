-- An addon that removes every timer must not stop the events: after a second without the pump, the module creates its
-- timer again.
require("realtime")
local heard = 0
realtime.On("again", "x", function() heard = heard + 1 end)
realtime.Emit("again", { 1 })
local start, removed = host.mono(), nil
hook.Add("Think", "test", function()
	if heard == 1 and not removed then
		timer.Remove("realtime.pump")
		assert(not timer.Exists("realtime.pump"))
		removed = true
		realtime.Emit("again", { 2 })
	end
	if heard < 2 and host.mono() - start < 60 then return end
	print(heard == 2 and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(heard == 2 and 0 or 1)
end)
