-- Large events and answers are delivered in slices: whole, in order, each tick within its budget. The test sets a budget
-- of 100 us.
local checks = include("checks.lua")
require("realtime")

local large, is_large = checks.large, checks.is_large

local tests = {}
local function eventually(name, done) tests[#tests + 1] = { name = name, done = done } end

-- The number of frames so far.
local frame = 0
timer.Create("frames", 0, 0, function() frame = frame + 1 end)

local text_of = util.TableToJSON
local order, frames, wrong, asked, summed, raws = {}, {}, 0, 0, 0, {}
for listener = 1, 3 do
	realtime.On("big", "l" .. listener, function(data, channel, meta)
		if data.small then
			order[#order + 1] = listener .. "s" .. data.small
		else
			if meta.raw or not is_large(data, data.n) then wrong = wrong + 1 end
			order[#order + 1] = listener .. "b" .. data.n
		end
		frames[order[#order]] = frame
	end)
end
realtime.AddHook("big", "cond", { type = "conditional", condition = function(data)
	if data.small or is_large(data, data.n) then asked = asked + 1 end
	return false
end, actions = { { type = "counter", key = "never" } } })
realtime.AddAggregator("big", "sum", { interval = 1, aggregate = function(list)
	for _, data in ipairs(list) do if data.small or is_large(data, data.n) then summed = summed + 1 end end
end, actions = { { type = "counter", key = "never" } } })

-- The largest table that Emit accepts is also decoded, players included. One value more is refused, also in a spec or a
-- stored value.
local ply = host.player({ name = "Jo", steamid64 = "76561198000000001", userid = 7 })
local function players(count)
	local t = {}
	for i = 1, count do t[i] = ply end
	return t
end
local full
realtime.On("full", "x", function(data, channel, meta) full = not meta.raw and #data end)
assert(realtime.Emit("full", players(3749))) -- 1 + 3,749 * 4
eventually("the largest table that Emit accepts arrives", function() return full == 3749 end)
local ok, reason = realtime.Emit("full", players(3750))
assert(ok == false and reason:find("^encode: data%[3750%] is the value number 15001"), reason)
local deepest, deeper = { ply }, { ply }
for _ = 1, 30 do deepest = { deepest } end
for _ = 1, 31 do deeper = { deeper } end
local levels
realtime.On("levels", "x", function(data, channel, meta) levels = not meta.raw end)
assert(realtime.Emit("levels", deepest))
local ok, reason = realtime.Emit("levels", deeper)
assert(ok == false and reason:find("is nested deeper than 32 levels", 1, true), reason)
eventually("the deepest table that Emit accepts arrives", function() return levels end)

-- JSON over the limits is delivered as its text.
realtime.On("raw", "x", function(data, channel, meta) raws[#raws + 1] = { data, meta.raw, meta.own } end)
local many = "[" .. string.rep("[],", 20000) .. "[]]"
local object = '{"a":' .. many .. ',"_rt":"x","b":1}'
local deep = string.rep("[", 40) .. string.rep("]", 40)
assert(realtime.Emit("raw", many) and realtime.Emit("raw", object) and realtime.Emit("raw", deep))
eventually("JSON over the limits arrives as its text and is counted", function()
	if #raws < 3 then return false end
	local object_text = '{"a":' .. many .. ',"b":1}'
	return raws[1][1] == many and raws[2][1] == object_text and raws[3][1] == deep and raws[1][2] and raws[2][2] and raws[3][2]
		and raws[2][3] == true and realtime.Stats().raw_over_limits == 3 and realtime.Stats().raw == 0
end)
assert(realtime.Set("many", many))
local many_answer
realtime.GetTable("many", function(value, err) many_answer = { value, err } end)
eventually("a stored value over the limits is an error", function()
	return many_answer and many_answer[1] == nil and many_answer[2]:find("^decode: the value has 60004 bytes and has more than 15000") ~= nil
end)

-- A huge argument is refused before the module copies any of it.
local function refused_fast(expected, f, ...)
	local best = math.huge
	for _ = 1, 3 do
		local before, start = host.resources().rss_kb, host.mono()
		local ok, reason = f(...)
		best = math.min(best, host.mono() - start)
		assert(not ok and tostring(reason):find(expected), tostring(reason))
		assert(host.resources().rss_kb - before < 24 * 1024, expected .. " takes memory")
	end
	assert(best < 0.1, expected .. " takes " .. best .. " s")
end
local huge = string.rep("x", 64 * 1024 * 1024)
local array = {}
for i = 1, 4000000 do array[i] = i end
local too_large = "^too_large: "
refused_fast(too_large, realtime.Emit, "x", { a = huge })
refused_fast(too_large, realtime.Emit, "x", { [huge] = 1 })
refused_fast(too_large, realtime.Emit, "x", { huge, huge })
refused_fast(too_large, realtime.Emit, "x", huge)
refused_fast(too_large, realtime.Emit, huge, { 1 })
refused_fast(too_large, realtime.Set, "k", { huge })
refused_fast(too_large, realtime.Set, "k", huge)
refused_fast(too_large, realtime.Set, huge, 1)
refused_fast(too_large, realtime.SetEx, "k", { huge }, 5)
refused_fast(too_large, realtime.Configure, { [huge] = 1 })
refused_fast(too_large, realtime.Command, { "SET", "k", huge })
refused_fast(too_large, realtime.Command, { huge })
refused_fast(too_large, realtime.Del, huge)
refused_fast(too_large, realtime.On, huge, print)
refused_fast(too_large, realtime.On, "x", huge, print)
refused_fast(too_large, realtime.AddHook, "x", { type = "counter", key = huge })
refused_fast(too_large, realtime.AddHook, huge, { type = "counter", key = "k" })
refused_fast(too_large, realtime.GetLeaderboard, huge, 5)
refused_fast("^file: ", realtime.ReadEventLog, huge)
refused_fast(too_large, realtime.ReadEventLog, "a.log", { channel = huge })
refused_fast("^nil", function() return realtime.RemoveHook(huge) end)
refused_fast("^nil", function() return realtime.Off(huge) > 0 end)
refused_fast("^nil", function() return realtime.Off("big", huge) > 0 end)
refused_fast("^encode: data%[15000%] is the value number 15001", realtime.Emit, "x", array)
refused_fast("^encode: data%.a%[14999%] is the value number 15001", realtime.Set, "x", { a = array })
refused_fast("^encode: the command has 4000000 words", realtime.Command, array)
refused_fast("^encode: the spec has more than 15000 values", realtime.AddHook, "x", { type = array })
local keys = {}
for i = 1, 7000 do keys[i] = string.rep("k", 1000) .. i end
refused_fast(too_large, realtime.Del, unpack(keys))
local itself = { type = "conditional" }
for _, name in ipairs({ "a", "b", "c", "d", "e", "f" }) do itself[name] = itself end
refused_fast("^encode: the spec is nested deeper than 32 levels %(a cycle%?%)", realtime.AddHook, "x", itself)
refused_fast("^encode: the spec is nested deeper", realtime.AddAggregator, "x", itself)
local dag = {}
for _ = 1, 25 do dag = { dag, dag, dag } end
refused_fast("^encode: the spec has more than 15000 values", realtime.AddHook, "x", dag)
refused_fast("^encode: ", realtime.Emit, "x", dag)
-- A table takes as long as it has room, also if it is empty. So does a description, which is made by functions of scripts.
local emptied, vectors = {}, {}
for i = 1, 200000 do emptied[i] = i end
for i = 1, 200000 do emptied[i] = nil end
local rooms = {}
for i = 1, 7000 do rooms[i] = emptied end
refused_fast("^encode: data%[%d+%] takes too long to read", realtime.Emit, "x", rooms)
refused_fast("^encode: data%.a%.b%[%d+%] takes too long to read", realtime.Set, "x", { a = { b = rooms } })
refused_fast("^encode: the spec takes too long to read", realtime.AddHook, "x", rooms)
for i = 1, 14999 do vectors[i] = Vector(i, 0, 0) end
refused_fast("^encode: data%[2049%] is the different entity, vector or angle number 2049, the limit", realtime.Emit, "x", vectors)
assert(realtime.Emit("x", { unpack(vectors, 1, 2048) }))
-- Inner tables are searched for a misplaced address.
local others = {}
for i = 1, 14000 do others["some_option_of_another_" .. i] = 1 end
refused_fast("^config: ", realtime.Configure, { a = others, b = 1 })
huge, array, keys, emptied, rooms, vectors, others = nil, nil, nil, nil, nil, nil, nil
collectgarbage()

-- Large events, answers and stored values between small ones.
local answers, sent = {}, false
local COUNT = 100000
local function send()
	sent = true
	for n = 1, 2 do
		assert(realtime.Emit("big", { small = n }))
		assert(realtime.Emit("big", large(n)))
	end
	assert(realtime.Emit("big", { small = 3 }))
	assert(realtime.Command({ "EVAL", "local t = {} for i = 1, " .. COUNT .. " do t[i] = i end return t", "0" }, function(value, err)
		local fine = value and #value == COUNT
		for i = 1, fine and COUNT or 0, 997 do fine = fine and value[i] == i end
		answers.array = fine or err or "wrong"
		answers.frame = frame
	end))
	assert(realtime.Set("large", large(7)))
	assert(realtime.GetTable("large", function(value, err) answers.large = value and is_large(value, 7) or err or "wrong" end))
	for n = 1, 50 do realtime.Get("k" .. n, function() answers.small = (answers.small or 0) + 1 end) end
	answers.sent = frame
end
local expected = {}
for _, what in ipairs({ "s1", "b1", "s2", "b2", "s3" }) do
	for listener = 1, 3 do expected[#expected + 1] = listener .. what end
end
eventually("large and small events arrive in order", function() return table.concat(order, " ") == table.concat(expected, " ") and wrong == 0 end)
eventually("each large event takes several ticks", function() return frames["2b1"] and frames["1b1"] - frames["3s1"] >= 2 and frames["2b1"] - frames["1b1"] >= 2 end)
eventually("conditions get whole events", function() return asked == 5 end)
eventually("windows get whole events", function() return summed == 5 end)
eventually("a large answer takes several ticks", function() return answers.array == true and answers.frame - answers.sent >= 10 end)
eventually("a large stored value arrives, and so do small answers", function() return answers.large == true and answers.small == 50 end)

local deadline = host.mono() + 40
timer.Create("tests", 0, 0, function()
	if not sent and full and realtime.Status() == "connected" then send() end
	local left = {}
	for _, test in ipairs(tests) do if not test.done() then left[#left + 1] = test.name end end
	if #left > 0 and host.mono() < deadline then return end
	for _, name in ipairs(left) do print("FAIL " .. name) end
	if #left > 0 then print(table.concat(order, " "), wrong, asked, summed, answers.array, answers.large, answers.small) end
	local stats = realtime.Stats()
	for _, name in ipairs(checks.unbalanced(stats, { "inbox", "replies", "aggregates" })) do
		left[#left + 1] = name
		print("FAIL " .. name .. " does not balance")
	end
	if stats.panics > 0 or stats.raw_slow > 0 then
		left[#left + 1] = "slow"
		print("FAIL panics " .. stats.panics .. ", raw_slow " .. stats.raw_slow)
	end
	print(string.format("pump p50 %d us, p99 %d us, max %d us", stats.pump.p50_us, stats.pump.p99_us, stats.pump.max_us))
	print((#tests - #left) .. " passed, " .. #left .. " failed")
	host.quit(#left == 0 and 0 or 1)
end)
