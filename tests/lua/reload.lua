-- Scripts that the game loads again, unchanged or edited: the hooks and aggregators that they added before are replaced, and
-- no others.
require("realtime")
local check, failures = include("checks.lua").gather()
local function load(name, code) RunString(code, "lua/autorun/" .. name .. ".lua") end
local function standing() return realtime.Stats().hooks .. " hooks, " .. realtime.Stats().aggregators .. " aggregators" end

-- The texts of scripts; `ids`, `ROUNDS` and the like are globals.
local loop = [[
	for i = 1, ROUNDS do
		ids[#ids + 1] = realtime.AddHook("loop", { type = "conditional", condition = function(data) return data.n == i end,
			actions = { { type = "counter", key = "loop" } } })
		ids[#ids + 1] = realtime.AddAggregator("loop", { interval = 3600, aggregate = function() end,
			actions = { { type = "counter", key = "never" } } })
	end
]]
local text = [[
	realtime.AddHook("text", { type = "counter", key = "text:WORD" })
	realtime.AddHook("text", "named:WORD", { type = "counter", key = "named:WORD" })
]]
local function begin(rounds)
	ids, ROUNDS = {}, rounds
end

local function in_the_first_map()
	begin(3)
	load("loop", loop)
	check("the rounds of a loop", standing(), "3 hooks, 3 aggregators")
	local before = table.concat(ids, " ")
	begin(3)
	load("loop", "-- edited: the lines move\n\n\n" .. loop)
	check("loaded again", standing(), "3 hooks, 3 aggregators")
	check("the ids", table.concat(ids, " "), before)
	begin(2)
	load("loop", loop)
	check("a round less", standing(), "2 hooks, 2 aggregators")
	-- One function in two equal specs is one hook; so is an equal spec without a function.
	load("same", [[
		local same = function() return true end
		for _ = 1, 2 do
			realtime.AddHook("same", { type = "conditional", condition = same, actions = { { type = "counter", key = "same" } } })
			realtime.AddHook("same", { type = "counter", key = "plain" })
		end
	]])
	check("the same function", standing(), "4 hooks, 2 aggregators")

	load("text", text:gsub("WORD", "old"))
	check("two texts", standing(), "6 hooks, 2 aggregators")
	load("text", text:gsub("WORD", "new"))
	-- A hook with an id stays until it is removed.
	check("another text", standing(), "7 hooks, 2 aggregators")
	assert(realtime.Emit("text", { n = 0 }))
	check("of another channel", realtime.RemoveHook("other", "named:old"), false)
	check("of this channel", realtime.RemoveHook("text", "named:old"), true)
	check("twice", realtime.RemoveHook("text", "named:old"), false)

	-- If the file now adds an id on another channel, the hook moves there.
	load("moves", [[ realtime.AddHook("here", "moving", { type = "counter", key = "moving" }) ]])
	load("moves", [[ realtime.AddHook("there", "moving", { type = "counter", key = "moving" }) ]])
	check("moved", tostring(realtime.RemoveHook("here", "moving")) .. tostring(realtime.RemoveHook("moving")), "falsetrue")

	-- A wrong spec changes nothing: the hook that stands goes on.
	load("text", [[ realtime.AddHook("text", { type = "counter", key = "text:new", tll = 5 }) ]])
	check("a wrong spec", standing(), "6 hooks, 2 aggregators")

	-- As many messages as a server may have: those that the file had before take no room.
	for _, word in ipairs({ "old", "new" }) do
		load("statuses", ([[ for n = 1, 32 do assert(realtime.AddHook("status", { type = "discord_status",
			webhook_url = "http://127.0.0.1:9/api/webhooks/" .. n .. "/hunter2", format = "WORD" })) end ]]):gsub("WORD", word))
		check("statuses", standing(), "38 hooks, 2 aggregators")
	end
	load("statuses", [[ realtime.RemoveHook(realtime.AddHook("status", { type = "counter", key = "never" })) ]])

	-- A helper file creates the function, and two scripts call it.
	load("helper", [[
		function add_by_helper(word)
			return realtime.AddHook("helped", { type = "conditional", condition = function(data) return data.word == word end,
				actions = { { type = "counter", key = "helped" } } })
		end
	]])
	load("one", [[ add_by_helper("one") add_by_helper("more") ]])
	load("two", [[ add_by_helper("two") ]])
	check("a helper's", standing(), "9 hooks, 2 aggregators")
	load("two", [[ add_by_helper("three") ]])
	check("a helper's again", standing(), "9 hooks, 2 aggregators")

	-- The text of a console command is no file, so nothing is replaced.
	RunString([[ realtime.AddHook("run", { type = "counter", key = "run:1" }) ]], "lua_run")
	RunString([[ realtime.AddHook("run", { type = "counter", key = "run:2" }) ]], "lua_run")
	check("two commands", standing(), "11 hooks, 2 aggregators")

	-- A helper file that two files include keeps the hooks that it added for each of them.
	included = {}
	HELPER = [[ included[CHANNEL] = realtime.AddHook(CHANNEL, { type = "counter", key = "included" }) ]]
	for _, of in ipairs({ "a on_a", "b on_b", "b on_c" }) do
		local file, channel = of:match("(%S+) (%S+)")
		load("for_" .. file, ("CHANNEL = '%s' RunString(HELPER, 'lua/autorun/included.lua')"):format(channel))
	end
	check("included by two", standing(), "13 hooks, 2 aggregators")
	for channel, expected in pairs({ on_a = true, on_b = false, on_c = true }) do
		check("included for " .. channel, realtime.RemoveHook(included[channel]), expected)
	end
	-- So it does with hooks that differ in their functions only.
	HELPER = [[ local own = WORD included[own] = realtime.AddHook("included", { type = "conditional",
		condition = function(data) return data.word == own end, actions = { { type = "counter", key = "included" } } }) ]]
	for _, word in ipairs({ "a", "b", "b" }) do
		load("for_" .. word, ("WORD = '%s' RunString(HELPER, 'lua/autorun/included.lua')"):format(word))
	end
	check("functions included by two", standing(), "13 hooks, 2 aggregators")
	for word in pairs({ a = true, b = true }) do
		check("a function included for " .. word, realtime.RemoveHook(included[word]), true)
	end

	-- Hooks that a timer adds: the rounds of the loop stay apart, and the next run replaces them.
	local later = [[
		for i = 1, 3 do
			timer.Simple(0, function()
				realtime.AddHook("later", { type = "conditional", condition = function() return i == 1 end,
					actions = { { type = "counter", key = "later" } } })
			end)
		end
	]]
	load("later", later)
	timer.Simple(0.2, function()
		check("by a timer", standing(), "14 hooks, 2 aggregators")
		load("later", "\n\n" .. later)
	end)
	timer.Simple(0.5, function()
		check("by a timer again", standing(), "14 hooks, 2 aggregators")
		for n = 1, 3 do assert(realtime.Emit("loop", { n = n })) end
		assert(realtime.Emit("helped", { word = "two" }) and realtime.Emit("helped", { word = "three" }))
		assert(realtime.Emit("later", { n = 0 }) and realtime.Emit("same", { n = 0 }))
	end)
end

local function in_the_second_map()
	check("all is kept", standing(), "14 hooks, 2 aggregators")
	-- The script was edited between the maps: its old hooks do not act beside the new ones, although other hooks are kept for
	-- a while.
	load("text", text:gsub("WORD", "newest"))
	begin(2)
	load("loop", loop)
	check("the second map", standing(), "15 hooks, 2 aggregators")
	assert(realtime.Emit("text", { n = 0 }) and realtime.Emit("loop", { n = 2 }))
end

local expected = {
	{ loop = "2", same = "1", plain = "1", helped = "1", later = "1", ["text:new"] = "1", ["named:new"] = "1", ["named:old"] = "1" },
	{ loop = "3", ["text:new"] = "1", ["text:newest"] = "1", ["named:newest"] = "1", ["named:new"] = "2" },
}
local map = host.map_changes() + 1
-- In a timer, because the files of one load of this script would be one run, in which no file replaces another.
timer.Simple(0, map == 1 and in_the_first_map or in_the_second_map)

-- The value of each key by its latest answer. With callbacks, because on a busy machine a waiting reader may time out.
local counted = {}
local function ask()
	for key in pairs(expected[map]) do realtime.Get(key, function(value, err) if not err then counted[key] = value end end) end
	realtime.Get("text:old", function(value) counted["text:old"] = value end)
end

local function differing()
	local found = {}
	for key, value in pairs(expected[map]) do
		if counted[key] ~= value then found[#found + 1] = key .. " is " .. tostring(counted[key]) .. ", expected " .. value end
	end
	if counted["text:old"] then found[#found + 1] = "the old text acted" end
	return found
end

local began = host.mono()
timer.Create("check", 0.1, 0, function()
	if host.mono() < began + 1 then return end
	ask()
	local found = differing()
	local stats = realtime.Stats()
	local rests = stats.actions.waiting + stats.inbox.waiting == 0
	if (#found > 0 or not rests) and host.mono() < began + 30 then return end
	for _, line in ipairs(found) do failures[#failures + 1] = line end
	if #failures == 0 and map == 1 then
		timer.Remove("check")
		return host.changelevel("gm_next")
	end
	print(#failures == 0 and "1 passed, 0 failed" or "0 passed, 1 failed", table.concat(failures, "\n"))
	host.quit(#failures == 0 and 0 or 1)
end)
