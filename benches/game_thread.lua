-- What the game thread pays, beside lua-cjson in the same run. Run by scripts/bench in the stand-in server.
-- MODE: all (times), or emit / deliver / cjson_encode / cjson_decode with N (for counting instructions).
local mode, n = host.arg.MODE or "all", tonumber(host.arg.N or 4000)

local pump
local create = timer.Create
function timer.Create(name, delay, repetitions, f)
	if name == "realtime.pump" then pump = f end
	return create(name, delay, repetitions, f)
end
if not mode:find("^cjson") then require("realtime") end

local typical = host.arg.TYPICAL
local cjson
if host.arg.CJSON then cjson = assert(host.loadlib(host.arg.CJSON, "luaopen_cjson"))() end
local shapes = {
	event = { killer = "John Doe", victim = "Alice", weapon = "weapon_crossbow", timestamp = 1763942400, headshot = true,
		pos = { x = -1234.5, y = 345.03125, z = 64.03125 } },
	plain = { killer = "John Doe", victim = "Alice", weapon = "weapon_crossbow", timestamp = 1763942400 },
}
local sum = 0
local function callback(data) sum = sum + #data.killer + #data.weapon end

local function median(list)
	table.sort(list)
	return list[math.ceil(#list / 2)]
end

-- Nanoseconds of one call, over `count` calls.
local function time(count, f)
	local start = host.mono()
	for _ = 1, count do f() end
	return (host.mono() - start) / count * 1e9
end

local function until_sent()
	while realtime.Stats().outbox.waiting > 0 do end
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
	local text = cjson.encode(shapes.event)
	if mode == "cjson_encode" then
		for _ = 1, n do cjson.encode(shapes.event) end
	else
		for _ = 1, n do callback(cjson.decode(text)) end
	end
	host.quit(0)
elseif mode == "emit" then
	for _ = 1, n do assert(realtime.Emit("bench", shapes.event)) end
	host.exit_now(0) -- Nobody answers: there is nothing to flush to.
else
	realtime.On("bench", "bench", callback)
	while realtime.Status() ~= "connected" do pump() end
	if mode == "deliver" then
		time_pump(shapes.event, n)
	else
		local rounds = 15
		-- "same queue": cjson.encode and an Emit of `true`, which is the queue and the call without a table.
		print(string.format("%-8s %9s %13s %7s %11s %7s | %14s %13s %7s", "payload", "Emit ns", "cjson.encode", "ratio",
			"same queue", "ratio", "pump ns/event", "cjson.decode", "ratio"))
		for _, name in ipairs({ "plain", "event" }) do
			local shape, text = shapes[name], cjson.encode(shapes[name])
			local rows = { {}, {}, {}, {}, {}, {}, {}, {} }
			for round = 1, rounds do
				local encode = time(n, function() cjson.encode(shape) end)
				local emit = time(n, function() realtime.Emit("other", shape) end)
				until_sent()
				local queue = time(n, function() realtime.Emit("other", true) end)
				until_sent()
				local decode = time(n, function() pcall(callback, cjson.decode(text)) end)
				local deliver = time_pump(shape, n)
				local peer = encode + queue
				for i, value in ipairs({ emit, encode, emit / encode, peer, emit / peer, deliver, decode, deliver / decode }) do
					rows[i][round] = value
				end
			end
			for i = 1, 8 do rows[i] = median(rows[i]) end
			print(string.format("%-8s %9.0f %13.0f %7.2f %11.0f %7.2f | %14.0f %13.0f %7.2f", name, unpack(rows)))
		end
		local idle = {}
		for round = 1, rounds do idle[round] = time(100000, pump) end
		print(string.format("idle pump: %.1f ns a tick", median(idle)))
		assert(realtime.Stats().inbox.dropped.overflow == 0 and realtime.Stats().outbox.dropped.queue_full == 0)
	end
	host.quit(0)
end
