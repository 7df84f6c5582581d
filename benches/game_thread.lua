-- The time that the game thread spends, next to lua-cjson in the same run. scripts/bench runs this in the stand-in server.
-- MODE: `emit_times`, `hook_times` and `pump_times` print times; `emit`, `deliver`, `cjson_encode` and `cjson_decode` handle
-- N events, so that instructions can be counted. For Emit there is no Redis, so that only the game thread is timed: on two
-- cores the publisher and Redis would take turns with it.
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
}
local sum = 0
local function callback(data) sum = sum + #data.killer + #data.weapon end

local function median(list)
	table.sort(list)
	return list[math.ceil(#list / 2)]
end

-- The median over `count` rounds of each value that `f` returns.
local function rounds(count, f)
	local rows = {}
	for round = 1, count do
		for i, value in ipairs({ f() }) do
			rows[i] = rows[i] or {}
			rows[i][round] = value
		end
	end
	for i = 1, #rows do rows[i] = median(rows[i]) end
	return rows
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
	-- "same queue": cjson.encode, and an Emit of `true`, which costs the call and the queue but no table.
	print(string.format("%-8s %9s %13s %7s %11s %7s", "payload", "Emit ns", "cjson.encode", "ratio", "same queue", "ratio"))
	for _, name in ipairs({ "plain", "event" }) do
		local shape = shapes[name]
		-- 4000 publishes for each shape: the queue holds 8192.
		local rows = rounds(20, function()
			local encode = time(100, function() cjson.encode(shape) end)
			local emit = time(100, function() assert(realtime.Emit("other", shape)) end)
			local peer = encode + time(100, function() assert(realtime.Emit("other", true)) end)
			return emit, encode, emit / encode, peer, emit / peer
		end)
		print(string.format("%-8s %9.0f %13.0f %7.2f %11.0f %7.2f", name, unpack(rows)))
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
	print(string.format("%-8s %9s %16s %7s", "payload", "Emit ns", "with five hooks", "ratio"))
	for _, name in ipairs({ "plain", "event" }) do
		local shape = shapes[name]
		local rows = rounds(12, function()
			local alone = time(100, function() assert(realtime.Emit("other", shape)) end)
			local hooked = time(100, function() assert(realtime.Emit("hooked", shape)) end)
			return alone, hooked, hooked / alone
		end)
		print(string.format("%-8s %9.0f %16.0f %7.2f", name, unpack(rows)))
	end
	host.exit_now(0)
else
	realtime.On("bench", "bench", callback)
	while realtime.Status() ~= "connected" do pump() end
	if mode == "deliver" then
		time_pump(shapes[host.arg.SHAPE or "event"], n)
	else
		print(string.format("%-8s %14s %13s %7s", "payload", "pump ns/event", "cjson.decode", "ratio"))
		for _, name in ipairs({ "plain", "event" }) do
			local shape, text = shapes[name], cjson.encode(shapes[name])
			local rows = rounds(15, function()
				local decode = time(n, function() pcall(callback, cjson.decode(text)) end)
				local deliver = time_pump(shape, n)
				return deliver, decode, deliver / decode
			end)
			print(string.format("%-8s %14.0f %13.0f %7.2f", name, unpack(rows)))
		end
		print(string.format("idle pump: %.1f ns a tick", rounds(15, function() return time(100000, pump) end)[1]))
		assert(realtime.Stats().inbox.dropped.overflow == 0 and realtime.Stats().outbox.dropped.queue_full == 0)
	end
	host.quit(0)
end
