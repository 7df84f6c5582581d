-- The next Lua state begins while the module calls a function of this one: a listener, or a function that `On` or `AddHook`
-- needs (`--set place=`). From then on no function of this state is called by a number of the next one, and it adds nothing.
-- The test sets a budget of 20 ms.
local checks = include("checks.lua")
require("realtime")

local wrong, began = 0, false
-- Both registries number references in order, so the numbers of the next state are those of these functions.
for n = 1, 60 do assert(realtime.On("filler" .. n, "x", function() wrong = wrong + 1 end)) end

local function begin()
	if began then return end
	began = true
	host.another_state([[
		require("realtime")
		for n = 1, 60 do assert(realtime.On("s", "l" .. n, function() end)) end
	]])
end

local function refused(id, reason)
	assert(began and id == nil and tostring(reason):find("^closed"), tostring(id or reason))
end

local places = {
	listener = function()
		realtime.On("s", "x", begin)
		for n = 1, 5 do assert(realtime.Emit("s", { n = n })) end
		host.block(100) -- All of them arrive meanwhile.
	end,
	on = function()
		local getinfo = debug.getinfo
		function debug.getinfo(...)
			begin()
			return getinfo(...)
		end
		refused(realtime.On("s", "x", function() end))
	end,
	hook = function()
		function pairs(t)
			begin()
			return next, t
		end
		refused(realtime.AddHook("s", "x", { type = "counter", key = "k" }))
	end,
}

local sent, deadline = false, host.mono() + 20
timer.Create("steps", 0, 0, function()
	if realtime.Status() == "connected" and not sent then
		sent = true
		local ok, why = pcall(places[host.arg.place])
		if not ok then
			timer.Remove("steps")
			return checks.finish(false, why)
		end
	end
	if began or host.mono() > deadline then
		timer.Remove("steps")
		checks.finish(began and wrong == 0, began and wrong .. " functions were called by numbers of the next state" or "late")
	end
end)
