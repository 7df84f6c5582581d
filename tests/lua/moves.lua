-- Moves from a Redis that answers no more to another one. Prints how long the next event takes, for the test to judge.
require("realtime")
assert(realtime.Configure({ redis = host.arg.first }))

local heard, moved
realtime.On("moves", "test", function(event) heard = event.n end)
assert(realtime.Emit("moves", { n = 1 }))
local steps = {
	function()
		if heard ~= 1 or realtime.Stats().outbox.waiting > 0 then return false end
		print("heard")
		return true
	end,
	-- The test stops the first one, then makes this file.
	function() return file.Exists("stopped.txt", "DATA") end,
	function()
		moved = host.mono()
		assert(realtime.Configure({ redis = host.arg.second }))
		assert(realtime.Emit("moves", { n = 2 }))
		return true
	end,
	function() return heard == 2 end,
}
local at = 1
timer.Create("steps", 0, 0, function()
	if steps[at]() then at = at + 1 end
	if at <= #steps then return end
	timer.Remove("steps")
	print(string.format("seconds: %.3f", host.mono() - moved))
	print("1 passed, 0 failed")
	host.quit(0)
end)
