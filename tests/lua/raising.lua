-- Every call of the module into Lua that allocates memory fails once, one after the other. In an older LuaJIT a script's
-- `__gc` can do that, in any LuaJIT a full memory. The call answers or raises that very error, the server goes on, and
-- nothing is lost.
local checks = include("checks.lua")
local raise_at = host.loadlib(host.lua_shared, "host_raise_at")
local tries = 0

-- Calls `f` with a failing first allocation, then with a failing second one, and so on until no allocation fails any more.
-- Then does the same with several failures in a row.
local function each(name, f)
	for _, count in ipairs({ 1, 3, 1000 }) do
		local n = 0
		repeat
			n = n + 1
			tries = tries + 1
			raise_at(n, count)
			local ok, first, second = pcall(f)
			local unraised = raise_at(0)
			local expected = ok or tostring(first):find("from a __gc", 1, true) or name == "bad argument" and first:find("bad argument", 1, true)
			assert(expected, name .. ": " .. tostring(first))
			-- The module hides a few errors in a row from the caller.
			assert(ok or count == 1000 or name:find("^bad") or name == "require", name .. ": " .. tostring(first))
			if ok and count < 1000 and name:find("^good") then assert(first, name .. ": " .. tostring(second)) end
			assert(n < 1000, name .. " never ends")
		until unraised == count
	end
end

each("require", function() require("realtime") end)
require("realtime")

local ply = host.player({ name = "Jo", steamid64 = "76561198000000001", userid = 7 })
local ent = host.entity({ class = "prop_physics", index = 42 })
each("good emit", function() return realtime.Emit("x", { a = 1, b = "two" }) end)
each("good emit of userdata", function() return realtime.Emit("x", { ply, ent, ply, { Vector(1, 2, 3) } }) end)
each("refused emit", function() assert(not realtime.Emit("x", { print })) end)
each("bad argument", function() realtime.Emit(5) end)
each("good on", function() return realtime.On("x", "id", function() end) end)
each("good off", function() return realtime.Off("nobody") end)
each("good set", function() return realtime.Set("k", { ply, 1 }, function() end) end)
each("good get", function() return realtime.Get("k", function() end) end)
each("get", function() realtime.Get("k") end)
each("get table", function() realtime.GetTable("k") end)
each("leaderboard", function() realtime.GetLeaderboard("b", 3) end)
each("good hook", function() return realtime.AddHook("x", "id", { type = "counter", key = "k" }) end)
each("good conditional", function()
	return realtime.AddHook("x", "cond", { type = "conditional", condition = function() end,
		actions = { { type = "counter", key = "k" } } })
end)
each("remove", function() realtime.RemoveHook("id") end)
each("good aggregator", function()
	return realtime.AddAggregator("x", "sum", { interval = 1, aggregate = function() end, actions = { { type = "counter", key = "k" } } })
end)
each("remove aggregator", function() realtime.RemoveAggregator("sum") end)
each("read log", function() realtime.ReadEventLog("none.log", { limit = 5 }) end)
each("good read log", function() return realtime.ReadEventLog("none.log", {}, function() end) end)
each("good configure", function() return realtime.Configure({}) end)
each("good status", function() return realtime.Status() end)
each("good stats", function() return realtime.Stats() end)
realtime.Off("x")
realtime.RemoveHook("cond")

-- Events, answers, conditions and windows: with an error at each allocation of their ticks, all of them arrive whole and
-- exactly once.
local events = host.arg.events and tonumber(host.arg.events) or 150
local heard, metas, asked, answered, summed, refused = 0, 0, 0, 0, 0, 0
local function whole(data) return data.n and data.text == "t" .. data.n and #data.list == 3 and data.list[3].deep.er == true end
realtime.On("e", "a", function(data) if whole(data) and data.n == heard + 1 then heard = heard + 1 end end)
realtime.On("e", "b", function(data, channel, meta) if whole(data) and channel == "e" and meta.own then metas = metas + 1 end end)
realtime.AddHook("e", "cond", { type = "conditional", condition = function(data)
	if whole(data) then asked = asked + 1 end
	return false
end, actions = { { type = "counter", key = "k" } } })
realtime.AddAggregator("e", "sum", { interval = 1, aggregate = function(list)
	for _, data in ipairs(list) do if whole(data) then summed = summed + 1 end end
end, actions = { { type = "counter", key = "k" } } })
realtime.Set("t", { list = { 1, { 2 }, "three" } })
local sent, n, started = 0, 0, host.mono()
timer.Create("drive", 0, 0, function()
	raise_at(0)
	if sent < events and (sent == 0 or heard > 0) then
		sent = sent + 1
		assert(realtime.Emit("e", { n = sent, text = "t" .. sent, list = { 1, 2, { deep = { er = true } } } }))
		assert(realtime.GetTable("t", function(value, err)
			answered = answered + 1
			if not value or value.list[2][1] ~= 2 then refused = refused + 1 end
		end))
	end
	if sent == events and heard == sent and metas == sent and asked == sent and answered == sent and summed == sent or host.mono() - started > 60 then
		local fine = heard == events and metas == events and asked == events and answered == events and summed == events and refused == 0
		if not fine then print("FAIL", sent, heard, metas, asked, answered, summed, refused) end
		local stats = realtime.Stats()
		for _, name in ipairs(checks.unbalanced(stats, { "inbox", "replies", "aggregates", "notices" })) do
			print("FAIL " .. name .. " does not balance")
			fine = false
		end
		if stats.panics > 0 then print("FAIL panics") fine = false end
		print(tries .. " tries")
		print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
		return host.quit(fine and 0 or 1)
	end
	-- The n-th allocation of the next tick fails.
	n = n % 120 + 1
	raise_at(n, n % 7 == 0 and 5 or 1)
end)
