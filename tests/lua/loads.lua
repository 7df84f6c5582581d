-- Loads of files that are hard to see, each twice with another text: the new hook replaces the old one.
require("realtime")
local check, failures = include("checks.lua").gather()
local function load(name, code) RunString(code, name) end
local function hooks() return realtime.Stats().hooks end

function deep(levels, run)
	if levels == 0 then return (run()) end
	local result = deep(levels - 1, run)
	return result
end
local add = [[ realtime.AddHook("seen", { type = "counter", key = "WORD" }) ]]
local condition = [[ realtime.AddHook("seen", { type = "conditional", condition = function() end, actions = { { type = "counter", key = "WORD" } } }) ]]
local ways = {
	plain = "ADD",
	xpcall = "xpcall(function() ADD end, print)",
	wrapper = "local function wrapper() ADD end wrapper()",
	deep = "deep(120, function() ADD end)",
	deeper = "deep(900, function() ADD end)",
	coroutine = "coroutine.wrap(function() ADD end)()",
	deep_coroutine = "deep(120, function() coroutine.wrap(function() deep(120, function() ADD end) end)() end)",
	coroutines = "coroutine.wrap(function() coroutine.wrap(function() ADD end)() end)()",
	-- The function inside has two hooks, so that the second coroutine of one load is seen as no load of its own.
	two = "for _, word in ipairs({ 'a', 'b' }) do coroutine.wrap(function() ADD2 end)() end",
	string = "RunString([==[ADD]==])",
	included = "RunString('coroutine.wrap(function() ADD end)()', 'lua/autorun/inner.lua')",
}
local function loads_that_are_seen()
	for name, text in pairs(ways) do
		for _, adds in ipairs({ add, condition }) do
			local expected = hooks() + (name == "two" and 2 or 1)
			for _, word in ipairs({ "old", "new" }) do
				local code = text:gsub("ADD2", (adds:gsub('"WORD"', '"WORD" .. word'))):gsub("ADD", (adds:gsub("%%", "%%%%")))
				load("lua/autorun/" .. name .. (adds == add and "" or "_function") .. ".lua", (code:gsub("WORD", name .. word)))
			end
			check(name, hooks(), expected)
		end
	end

	-- A loop that includes one file: each round has its hooks, also for functions on one channel.
	local outer = [[
		for _, channel in ipairs({ "round_a", "round_b", "round_c" }) do
			CHANNEL = channel
			RunString(ROUND, "lua/autorun/round.lua")
		end
	]]
	ROUND = [[
		realtime.AddHook(CHANNEL, { type = "counter", key = "k" })
		realtime.AddHook(CHANNEL, "named", { type = "counter", key = "k" })
		local own = CHANNEL
		realtime.AddHook("rounds", { type = "conditional", condition = function() return own end, actions = { { type = "counter", key = "k" } } })
	]]
	local before = hooks()
	for _, which in ipairs({ "first", "second", "third" }) do
		load("lua/autorun/outer.lua", outer)
		check("the rounds of the " .. which .. " load", hooks(), before + 9)
	end
	load("lua/autorun/outer.lua", (outer:gsub('"round_a", ', "")))
	check("a round less", hooks(), before + 6)

	-- The name of a function's file is the same in each folder of an addon.
	local ids = {}
	for _, folder in ipairs({ "addons/myaddon/lua/", "addons/myaddon-main/lua/", "addons\\my addon\\lua\\", "lua/" }) do
		load(folder .. "autorun/folder.lua", "ID = " .. condition)
		ids[#ids + 1] = ID
		load(folder .. "autorun/other.lua", "ID = " .. condition)
		check("another file", ID ~= ids[1], true)
	end
	check("folders", table.concat(ids, " "), ids[1] .. (" " .. ids[1]):rep(3))
end

local function loads_that_are_not_seen()
	-- Nothing shows the file: the log says so, once for each.
	load("lua/autorun/returns.lua", [[ local function own() end return realtime.AddHook("unseen", { type = "conditional", condition = own,
		actions = { { type = "counter", key = "k" } } }) ]])
	RunString([[ return realtime.AddHook("unseen", { type = "counter", key = "k" }) ]], "lua/autorun/plain.lua")
	load("lua/autorun/timer.lua", [[ timer.Simple(0, function()
		realtime.AddHook("unseen", { type = "counter", key = "k" }) realtime.AddHook("unseen", { type = "counter", key = "l" })
	end) ]])
	load("lua/autorun/named.lua", [[ timer.Simple(0, function() realtime.AddHook("unseen", "named", { type = "counter", key = "k" }) end) ]])
	for word = 1, 2 do RunString(([[ realtime.AddHook("unseen", { type = "counter", key = "%d" }) ]]):format(word), "lua_run") end
	-- The second function replaces the first, and the log says so.
	for word = 1, 2 do RunString("local word = " .. word .. condition, "lua_run") end
	realtime.Set("x", 1, function() realtime.AddHook("unseen", { type = "counter", key = "by the pump" }) end)
end

-- In timers, because the files of one load of this script would be one run, in which no file replaces another.
timer.Simple(0, loads_that_are_seen)
timer.Simple(0, loads_that_are_not_seen)

local began = host.mono()
timer.Create("end", 0.1, 0, function()
	local unseen = realtime.RemoveHook("unseen", "named")
	if not unseen and host.mono() < began + 30 then return end
	check("with an id", unseen, true)
	print(#failures == 0 and "1 passed, 0 failed" or "0 passed, 1 failed", table.concat(failures, "\n"))
	timer.Simple(0.2, function() host.quit(#failures == 0 and 0 or 1) end)
end)
