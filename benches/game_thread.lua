-- The time that the game thread spends, next to lua-cjson in the same run. scripts/bench runs this in the stand-in server.
-- MODE: `emit_times`, `hook_times` and `pump_times` print samples, one a line: case, who, round, value, unit, with tabs
-- between them. `emit`, `deliver`, `cjson_encode` and `cjson_decode` handle N events, so that instructions can be counted.
-- For Emit there is no Redis, so that only the game thread is timed: on two cores the publisher and Redis would take turns
-- with it.
local mode, n = host.arg.MODE, tonumber(host.arg.N or 4000)

local pump
local create = timer.Create
function timer.Create(name, delay, repetitions, f)
	if name == "realtime.pump" then pump = f end
	return create(name, delay, repetitions, f)
end
if not mode:find("^cjson") then require("realtime") end

local cjson = assert(host.loadlib(host.arg.CJSON, "luaopen_cjson"))()
local shapes = {
	event = cjson.decode(host.io.open(host.arg.TYPICAL):read("*a")),
	plain = { killer = "John Doe", victim = "Alice", weapon = "weapon_crossbow", timestamp = 1763942400 },
	rows = {},
}
for i = 1, 100 do shapes.rows[i] = shapes.event end
local sum = 0
local function callback(data) sum = sum + #data.killer + #data.weapon end

-- Runs `f` in `count` rounds; it returns a table of nanoseconds by the name of who took them. BESIDE is the end of the
-- case's name if other programs keep the machine busy.
local function rounds(case, count, f)
	case = case .. (host.arg.BESIDE or "")
	for round = 1, count do
		for who, value in pairs(f()) do print(string.format("%s\t%s\t%d\t%.1f\tns", case, who, round, value)) end
	end
end

-- Nanoseconds of one call, over `count` calls.
local function time(count, f)
	local start = host.mono()
	for _ = 1, count do f() end
	return (host.mono() - start) / count * 1e9
end

-- Lets `count` events arrive while the pump does not run, then times the pump alone.
local function time_pump(shape, count)
	for _ = 1, count do assert(realtime.Emit("bench", shape)) end
	while realtime.Stats().inbox.waiting < count do end
	local spent = 0
	while realtime.Stats().inbox.waiting > 0 do
		local start = host.mono()
		pump()
		spent = spent + host.mono() - start
	end
	pump()
	return spent / count * 1e9
end

if mode == "cjson_encode" or mode == "cjson_decode" then
	local shape = shapes[host.arg.SHAPE or "event"]
	local text = cjson.encode(shape)
	if mode == "cjson_encode" then
		for _ = 1, n do cjson.encode(shape) end
	else
		for _ = 1, n do callback(cjson.decode(text)) end
	end
	host.quit(0)
elseif mode == "emit" then
	for _ = 1, n do assert(realtime.Emit("bench", shapes[host.arg.SHAPE or "event"])) end
	host.exit_now(0) -- Without a Redis there is nothing to flush.
elseif mode == "emit_times" then
	-- The peer encodes with lua-cjson and emits `true`, which costs the call and the queue but no table. The queue holds
	-- 8192 events and 16 MiB, which is enough for all rounds together.
	for _, row in ipairs({ { "plain", 100 }, { "event", 100 }, { "rows", 30 } }) do
		local shape, count = shapes[row[1]], row[2]
		rounds("emit/" .. row[1], 15, function()
			local encode = time(count, function() cjson.encode(shape) end)
			local emit = time(count, function() assert(realtime.Emit("other", shape)) end)
			local queue = time(count, function() assert(realtime.Emit("other", true)) end)
			return { ours = emit, ["cjson+queue"] = encode + queue }
		end)
	end
	host.exit_now(0)
elseif mode == "hook_times" then
	-- Emit without hooks, and to a channel with five hooks. The queue holds 8192: a round has 100 publishes, and 100 more with
	-- a counter.
	local nowhere = "http://127.0.0.1:1/api/webhooks/1/token"
	for _, spec in ipairs({
		{ type = "discord", webhook_url = nowhere, format = "**{killer}** killed {victim} with {weapon}" },
		{ type = "http", url = "http://127.0.0.1:1/kill" },
		{ type = "file", path = "bench.log", format = "binary" },
		{ type = "counter", key = "kills:{killer}", ttl = 86400 },
		{ type = "counter", key = "shots", where = { weapon = "nothing", timestamp = { gt = 5 } } },
	}) do assert(realtime.AddHook("hooked", spec)) end
	assert(realtime.Emit("hooked", true))
	for _, name in ipairs({ "plain", "event" }) do
		local shape = shapes[name]
		rounds(name == "event" and "hooks/five" or "hooks/five/plain", 12, function()
			local alone = time(100, function() assert(realtime.Emit("other", shape)) end)
			local hooked = time(100, function() assert(realtime.Emit("hooked", shape)) end)
			return { ours = hooked, emit = alone }
		end)
	end
	host.exit_now(0)
else
	realtime.On("bench", "bench", callback)
	while realtime.Status() ~= "connected" do pump() end
	if mode == "deliver" then
		time_pump(shapes[host.arg.SHAPE or "event"], n)
	else
		for _, name in ipairs({ "plain", "event" }) do
			local shape, text = shapes[name], cjson.encode(shapes[name])
			rounds("pump/" .. name, 15, function()
				local decode = time(n, function() pcall(callback, cjson.decode(text)) end)
				return { ours = time_pump(shape, n), ["cjson+pcall"] = decode }
			end)
		end
		assert(realtime.Stats().inbox.dropped.overflow == 0 and realtime.Stats().outbox.dropped.queue_full == 0)
	end
	host.quit(0)
end
