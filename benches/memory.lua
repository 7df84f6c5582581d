-- Memory that the module adds to the server at rest, with all its threads: `memory/rest`, and `memory/rest/private` without
-- the pages of the library's file. Prints samples: case, who, round, value, unit, separated by tabs. A Redis is needed.
local REST_SECONDS = 5

-- Kilobytes: all that is resident, and the part that belongs to no file.
local function resident()
	collectgarbage()
	collectgarbage()
	local status = host.io.open("/proc/self/status"):read("*a")
	return tonumber(status:match("VmRSS:%s*(%d+)")), tonumber(status:match("RssAnon:%s*(%d+)"))
end

local frames, all_before, private_before, started = 0
hook.Add("Think", "bench", function()
	frames = frames + 1
	if frames == 100 then
		all_before, private_before = resident()
		require("realtime")
		-- A destination that refuses: nothing is sent, but every thread starts.
		local nowhere = "http://127.0.0.1:1/"
		assert(realtime.AddHook("bench", { type = "discord", webhook_url = nowhere .. "api/webhooks/1/t", format = "{n}" }))
		assert(realtime.AddHook("bench", { type = "http", url = nowhere }))
		assert(realtime.AddHook("bench", { type = "file", path = "bench.log", format = "binary" }))
		assert(realtime.AddHook("bench", { type = "counter", key = "bench" }))
		realtime.On("bench", "bench", function() started = started or host.mono() end)
	elseif frames > 100 and not started and realtime.Status() == "connected" then
		realtime.Emit("bench", { n = 1 })
	elseif started and host.mono() - started > REST_SECONDS then
		local all, private = resident()
		print(string.format("memory/rest\tours\t1\t%d\tkB", all - all_before))
		print(string.format("memory/rest/private\tours\t1\t%d\tkB", private - private_before))
		host.quit(0)
	end
end)
