-- ReadEventLog: arguments, paths, both formats through the same call, filters, reading while a hook writes, files that are
-- no event log.
local checks = include("checks.lua")
require("realtime")

local fails_with = checks.fails_with

local function refuses(expected, value, reason)
	assert(value == nil and type(reason) == "string" and reason:find(expected, 1, true) == 1, tostring(reason))
end

-- A wrong argument type is a Lua error.
local read = realtime.ReadEventLog
fails_with("bad argument #1 to 'ReadEventLog' (string expected, got no value)", read)
fails_with("bad argument #1 to 'ReadEventLog' (string expected, got table)", read, {})
fails_with("bad argument #2 to 'ReadEventLog' (table expected, got string)", read, "x.log", "x")
fails_with("bad argument #3 to 'ReadEventLog' (function expected, got number)", read, "x.log", {}, 5)
fails_with("bad argument #3 to 'ReadEventLog' (function expected, got table)", read, "x.log", nil, {})

-- A wrong option or path is answered with `nil, reason`, also with a callback; the callback is not called then.
for _, callback in ipairs({ false, function() error("was called") end }) do
	callback = callback or nil
	refuses("encode: limit: expected a whole number from 1 to 100000, found 0", read("x.log", { limit = 0 }, callback))
	refuses("encode: limit: expected a whole number from 1 to 100000, found -1", read("x.log", { limit = -1 }, callback))
	refuses("encode: limit: expected a whole number from 1 to 100000", read("x.log", { limit = 1e9 }, callback))
	refuses("encode: limit: expected a whole number, found 1.5", read("x.log", { limit = 1.5 }, callback))
	refuses("encode: start: unknown member", read("x.log", { start = 1 }, callback))
	refuses("encode: start_tme: unknown member, did you mean `start_time`?", read("x.log", { start_tme = 1 }, callback))
	refuses("encode: end_time: expected a number, found a string", read("x.log", { end_time = "1" }, callback))
	refuses("encode: a number of the options is not finite", read("x.log", { end_time = 1 / 0 }, callback))
	refuses("encode: data.channel is a function", read("x.log", { channel = print }, callback))
	refuses("encode: expected a table of options, found a list", read("x.log", { "x" }, callback))
	for _, path in ipairs({ "", "../x", "a/../../x", "/etc/x", "C:\\x", "c:x", "a\0b", "CON", "a/nul.log", string.rep("x", 5000),
		"x.log.idx", "x.log.000001", "X.LOCK", "x.lock/y", "realtime/realtime.log", "RealTime/x", "realtime", "\255" }) do
		refuses("file: cannot use `", read(path, nil, callback))
	end
end

-- A busy machine must not make readers fail.
assert(realtime.Configure({ sync_timeout_ms = 1000 }))

-- Files that exist and are no event log, or an empty one.
file.CreateDir("logs/folder")
file.Write("logs/foreign.txt", "PK\3\4 and more")
file.Write("logs/empty.txt", "")

local started = os.time()
for _, format in ipairs({ "json", "binary" }) do
	assert(realtime.AddHook("log:*", format, { type = "file", path = "logs/" .. format .. ".log", format = format }))
end
-- This hook writes to a file that is no event log: the module reports it.
assert(realtime.AddHook("log:a", "foreign", { type = "file", path = "logs/foreign.txt" }))
local told = {}
hook.Add("RealtimeError", "test", function(operation, target, reason)
	told[#told + 1] = operation .. " " .. target .. " " .. reason
end)

local function emit(channel, from, to)
	for n = from, to do assert(realtime.Emit(channel, { n = n, name = "J\195\182hn", list = { 1, "x" }, nothing = {} })) end
end

local function numbers(events)
	local list = {}
	for _, event in ipairs(events) do list[#list + 1] = event.data.n end
	return table.concat(list, " ")
end

local answers, asked = 0, 0
-- Reads without a callback, in a coroutine that the steps below resume each tick: a read waits until earlier ones with a
-- callback are answered, and one that used up the time of readers in this second is tried again.
local function patient_read(path, options)
	while true do
		while answers < asked do coroutine.yield() end
		local events, reason = read(path, options)
		if events or not reason:find("timeout: ", 1, true) then return events, reason end
		coroutine.yield()
	end
end

-- Reads without and with a callback; the answers must be equal.
local function both(path, options, check)
	check(patient_read(path, options))
	asked = asked + 1
	assert(read(path, options, function(events, reason)
		check(events, reason)
		answers = answers + 1
	end) == true)
end

local function is(expected)
	return function(events, reason)
		assert(events, reason)
		assert(numbers(events) == expected, "found " .. numbers(events))
	end
end

local function run(path)
	both(path, nil, is("1 2 3 4 5 6"))
	both(path, {}, is("1 2 3 4 5 6"))
	both(path, { limit = 2 }, is("1 2"))
	both(path, { limit = 2, newest_first = true }, is("6 5"))
	both(path, { newest_first = true }, is("6 5 4 3 2 1"))
	both(path, { channel = "log:b" }, is("4 5 6"))
	both(path, { channel = "log:b", newest_first = true, limit = 1 }, is("6"))
	both(path, { channel = "log:*" }, is(""))
	both(path, { start_time = started - 5, end_time = os.time() + 5 }, is("1 2 3 4 5 6"))
	both(path, { start_time = os.time() + 5 }, is(""))
	both(path, { end_time = started - 5 }, is(""))
	both(path, { start_time = 5, end_time = 4 }, is(""))
	both(path, nil, function(events, reason)
		assert(events, reason)
		for n, event in ipairs(events) do
			local data = event.data
			assert(event.seq == n and event.channel == (n <= 3 and "log:a" or "log:b"))
			assert(math.abs(event.time - started) < 60)
			assert(data.name == "J\195\182hn" and data.list[2] == "x" and #data.nothing == 0 and data._rt == nil)
		end
	end)
	-- A range that is the time of one record finds that record.
	local all = assert(patient_read(path))
	local last = all[#all].time
	local found = assert(patient_read(path, { start_time = last, end_time = last }))
	assert(found[#found].seq == 6)
end

local function run_files()
	-- For a path without a file the answer depends on whether a hook writes there.
	local function is_missing(...) refuses("file: there is no event log `", ...) end
	both("logs/none.log", nil, is_missing)
	both("logs/none/none.log", nil, is_missing)
	local by_file = { type = "file", path = "logs/none.log" }
	for _, spec in ipairs({ by_file, { type = "conditional", condition = function() end, actions = { by_file } } }) do
		assert(realtime.AddHook("never", "none", spec))
		both("logs/none.log", nil, is(""))
		both("logs/none/none.log", nil, is_missing)
		assert(realtime.RemoveHook("none"))
		both("logs/none.log", nil, is_missing)
	end
	assert(realtime.AddAggregator("never", "none", { interval = 1, aggregate = function() end, actions = { by_file } }))
	both("logs/none.log", nil, is(""))
	assert(realtime.RemoveAggregator("none"))
	both("logs/empty.txt", nil, is(""))
	both("logs/foreign.txt", nil, function(...) refuses("file: cannot read event log", ...) end)
	both("logs/foreign.txt/x", nil, function(...) refuses("file: cannot read event log", ...) end)
	both("logs/folder", nil, function(...) refuses("file: cannot read event log", ...) end)
end

-- A step that runs over several ticks.
local function patiently(check)
	local running = coroutine.create(check)
	return function()
		assert(coroutine.resume(running))
		return coroutine.status(running) == "dead"
	end
end

local written, seen = 6, 0
local step, deadline, errors = 1, host.mono() + 60, nil
local steps = {
	function() return realtime.Status() == "connected" end,
	function() emit("log:a", 1, 3) emit("log:b", 4, 6) return true end,
	patiently(function() run("logs/json.log") end),
	patiently(function() run("logs/binary.log") end),
	patiently(run_files),
	function() return answers == asked and asked >= 32 end,
	function() return #told > 0 end,
	function()
		assert(#told == 1 and told[1]:find("^file logs/foreign.txt file: cannot open event log .* not an event log$"), told[1])
		errors = host.errors()
		assert(read("logs/json.log", function() error("on purpose") end) == true)
		return true
	end,
	function() return host.errors() > errors end,
	-- Reading while a hook writes: each answer is a prefix of the records, and at least as long as the log before the call.
	function()
		if written >= 2006 then return true end
		local before = written
		emit("log:c", written + 1, written + 100)
		written = written + 100
		for _, path in ipairs({ "logs/json.log", "logs/binary.log" }) do
			assert(read(path, { limit = 100000 }, function(events, reason)
				assert(events and #events >= before + 100, reason)
				for n, event in ipairs(events) do assert(event.seq == n and event.data.n == n) end
				seen = seen + 1
			end))
		end
		return false
	end,
	function() return seen == 40 end,
	patiently(function()
		local newest = assert(patient_read("logs/binary.log", { newest_first = true, limit = 3 }))
		assert(numbers(newest) == "2006 2005 2004", numbers(newest))
	end),
	-- All waits of readers together are bounded in each second, however many reads a script makes.
	function()
		assert(realtime.Configure({ sync_timeout_ms = 5 }))
		local refused = 0
		for _ = 1, 3000 do
			local events, reason = read("logs/json.log", { limit = 100000 })
			if not events then
				assert(reason:find("^timeout: ") and reason:find("use a callback", 1, true), reason)
				refused = refused + 1
			end
		end
		assert(refused > 2000, refused) -- Only a few of 3000 reads fit into the time of one second.
		-- The reason of the next Get is the used-up time; Redis does not count as silent.
		local _, reason = realtime.Get("none")
		-- On a busy machine the next second, with new time for readers, may have begun.
		if not reason or not reason:find("timeout: readers have waited", 1, true) then return false end
		assert(realtime.Configure({ sync_timeout_ms = 1000 }))
		return true
	end,
	function()
		local _, reason = realtime.Get("none")
		return reason == nil
	end,
	function() return realtime.Stats().callbacks == 0 end,
}

timer.Create("steps", 0, 0, function()
	local late = host.mono() > deadline
	local ok, done = xpcall(steps[step], function(message) return debug.traceback(message, 1) end)
	if ok and done then step = step + 1 end
	if ok and not late and step <= #steps then return end
	if not ok then print(done) end
	if late then print("step " .. step .. " took too long: " .. answers .. " of " .. asked .. " answers") end
	local stats = realtime.Stats()
	if stats.panics > 0 then ok = false print("panics") end
	ok = ok and step > #steps and stats.call_errors == 1
	print(ok and (#steps .. " passed, 0 failed") or "0 passed, 1 failed")
	host.quit(ok and 0 or 1)
end)
