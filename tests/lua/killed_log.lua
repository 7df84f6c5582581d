-- Numbered records in event logs of both formats, in a folder in which earlier servers were killed. The records up to `seen`
-- must be there, in order and without gaps. With `how=writes` this server writes on until the test kills it; with
-- `how=reads` it writes a last record and ends.
require("realtime")
local seen, writes = tonumber(host.arg.seen), host.arg.how == "writes"
local FORMATS = { "json", "binary" }
local function path_of(format) return "logs/killed_" .. format .. ".log" end

-- The number of records in a log. Waits in the coroutine below until they are read.
local function count(format)
	local path, found = path_of(format), nil
	if not file.Exists(path, "DATA") then return 0 end
	assert(realtime.ReadEventLog(path, { limit = 100000 }, function(events, reason)
		found = 0
		if not events then return print("FAIL", path, reason) end
		for n, event in ipairs(events) do
			if event.data.n ~= n then return print("FAIL", path, n, event.data.n) end
		end
		found = #events
	end))
	while not found do coroutine.yield() end
	return found
end

local function run()
	-- A killed server may have written more to one log than to the other.
	local written, wanted = {}, {}
	for _, format in ipairs(FORMATS) do
		written[format] = count(format)
		assert(written[format] >= seen, format .. ": " .. written[format] .. " records of " .. seen)
		wanted[format] = written[format] + (writes and 100 or 1)
		assert(realtime.AddHook("log_" .. format, format, { type = "file", path = path_of(format), format = format }))
	end
	local function write()
		for _, format in ipairs(FORMATS) do
			local n = written[format] + 1
			assert(realtime.Emit("log_" .. format, { n = n, text = string.rep("x", n % 200) }))
			written[format] = n
		end
	end
	write()
	if writes then timer.Create("write", 0, 0, function() for _ = 1, 10 do write() end end) end
	local on_disk = {}
	repeat
		coroutine.yield()
		for _, format in ipairs(FORMATS) do on_disk[format] = count(format) end
	until on_disk.json >= wanted.json and on_disk.binary >= wanted.binary
	print("on disk " .. math.min(on_disk.json, on_disk.binary))
	if writes then return end
	print("1 passed, 0 failed")
	host.quit(0)
end

local running = coroutine.create(run)
timer.Create("run", 0, 0, function()
	if coroutine.status(running) == "dead" then return end
	local ok, message = coroutine.resume(running)
	if not ok then
		print("FAIL", message)
		host.quit(1)
	end
end)
