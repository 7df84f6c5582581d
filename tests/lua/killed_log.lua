-- Numbered records in event logs of both formats, in a folder in which earlier servers were killed. The records up to `seen`
-- must be there, in order and without gaps. With `how=writes` this server writes on until the test kills it; with
-- `how=reads` it writes a last record and ends.
require("realtime")
local seen, writes = tonumber(host.arg.seen), host.arg.how == "writes"
local PATHS = { "logs/killed_json.log", "logs/killed_binary.log" }

-- A busy machine must not make readers fail.
assert(realtime.Configure({ sync_timeout_ms = 1000 }))

-- The last number of a log.
local function last(path)
	if not file.Exists(path, "DATA") then return 0 end
	local events, reason = realtime.ReadEventLog(path)
	assert(events, reason)
	for n, event in ipairs(events) do
		assert(event.data.n == n, path .. ": record " .. n .. " has the number " .. event.data.n)
	end
	return #events
end

-- A killed server may have written more to one log than to the other.
local written = {}
for i, path in ipairs(PATHS) do
	written[i] = last(path)
	assert(written[i] >= seen, path .. " has " .. written[i] .. " records of " .. seen)
	local format = path:match("_(%a+)")
	assert(realtime.AddHook("log" .. i, format, { type = "file", path = path, format = format }))
end

local function write(count)
	for i = 1, #PATHS do
		for _ = 1, count do
			written[i] = written[i] + 1
			assert(realtime.Emit("log" .. i, { n = written[i], text = string.rep("x", written[i] % 200) }))
		end
	end
end

local first = { written[1], written[2] }
write(1)
timer.Create("watch", 0, 0, function()
	if writes then write(20) end
	local on_disk = { last(PATHS[1]), last(PATHS[2]) }
	local grown = writes and 100 or 1
	if on_disk[1] < first[1] + grown or on_disk[2] < first[2] + grown then return end
	if writes then
		print("on disk " .. math.min(on_disk[1], on_disk[2]))
		return
	end
	timer.Remove("watch")
	print("1 passed, 0 failed")
	host.quit(0)
end)
