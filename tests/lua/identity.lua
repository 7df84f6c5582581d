-- Identity of events: outgoing events are numbered, `meta` names the origin of incoming ones, repeats are dropped and gaps
-- are reported. The test reads the channel `out` and plays the server `us-9`.
require("realtime")
local heard, meta_of, gaps, own = {}, {}, {}, nil
realtime.On("in", "x", function(data, _, meta)
	heard[#heard + 1] = data.n
	meta_of[data.n] = meta
	assert(data._rt == nil)
end)
realtime.On("relay", "x", function(data, _, meta)
	heard[#heard + 1] = data.n
	assert(data._rt == nil and meta.server == nil and meta.seq == nil and meta.own == nil)
end)
realtime.On("own", "x", function(data, _, meta) own = meta assert(data._rt == nil) end)
hook.Add("RealtimeGap", "test", function(channel, server, missed)
	gaps[#gaps + 1] = channel .. " " .. server .. " " .. missed
end)

local connected
hook.Add("RealtimeConnected", "test", function()
	connected = true
	-- Arrays, strings, numbers and booleans carry no number; the text of an object does.
	for _, data in ipairs({ { 1 }, "text", 5, true, {} }) do assert(realtime.Emit("out", data)) end
	-- A refused event uses no number.
	assert(realtime.Emit("out", { f = print }) == false)
	assert(realtime.Emit("out", { a = 1 }))
	assert(realtime.Emit("out", ' { "text":true } ') and realtime.Emit("out", "{}"))
	realtime.Emit("own", { 1, n = 1 })
	print("ready")
end)

local deadline = host.mono() + 60
timer.Create("end", 0, 0, function()
	if host.mono() > deadline then print("heard " .. table.concat(heard, " ") .. ", own " .. tostring(own) .. ", gaps " .. #gaps) return host.quit(1) end
	if heard[#heard] ~= 7 or not own or #gaps == 0 then return end
	assert(connected and table.concat(heard, " ") == "1 2 4 5 6 7", table.concat(heard, " "))
	assert(table.concat(gaps, ",") == "in us-9 2", table.concat(gaps, ","))
	local first, last = meta_of[1], meta_of[4]
	assert(first.server == "us-9" and first.seq == 1 and first.sent == 1.5 and first.own == false)
	assert(last.seq == 5 and meta_of[7].server == nil)
	assert(own.server == "eu-1" and own.seq == 1 and own.own == true and math.abs(own.sent - os.time()) < 60)
	local stats = realtime.Stats()
	assert(stats.missed == 2 and stats.inbox.dropped["repeat"] == 1 and stats.relayed == 1)
	assert(stats.latency.count == 4, stats.latency.count)
	print("1 passed, 0 failed")
	host.quit(0)
end)
