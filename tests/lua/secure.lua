-- Events over `rediss://`, posts over `http://` and `https://`. The test names the file of its authority in the settings.
require("realtime")
assert(realtime.AddHook("kill", "plain", { type = "http", url = host.arg.web }))
assert(realtime.AddHook("kill", "secure", { type = "http", url = host.arg.secure }))
local sent, heard
realtime.On("kill", function(data) heard = data.n end)
timer.Create("end", 0, 0, function()
	if realtime.Status() ~= "connected" then return end
	sent = sent or realtime.Emit("kill", { n = 7 })
	if heard and realtime.Stats().webhooks.delivered == 2 then
		assert(heard == 7)
		timer.Remove("end")
		print("1 passed, 0 failed")
		host.quit(0)
	end
end)
