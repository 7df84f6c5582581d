-- On with `missed`: arguments; then, in a second process, the events that this listener missed, and live ones behind them.
-- `--set run=1` registers the listener, `--set run=2` is the next process under the same name. There the missed events are
-- large, and so are live ones of another listener at the same time. The test sets a budget of 100 us.
local checks = include("checks.lua")
require("realtime")

local fails_with = checks.fails_with
local function nothing() end

fails_with("bad argument #4 to 'On' (table expected, got number)", realtime.On, "c", "x", nothing, 5)
fails_with("bad argument #3 to 'On' (table expected, got string)", realtime.On, "c", nothing, "x")
local function refused(part, id, reason)
	assert(id == nil and reason:find(part, 1, true), tostring(reason))
end
refused("`missed` needs an id", realtime.On("c", nothing, { missed = true }))
refused("`c:*` is a pattern", realtime.On("c:*", "x", nothing, { missed = true }))
refused("did you mean `missed`?", realtime.On("c", "x", nothing, { mised = true }))
refused("missed: ", realtime.On("c", "x", nothing, { missed = 1 }))
refused("encode: data.missed is a function", realtime.On("c", "x", nothing, { missed = print }))
assert(realtime.On("c", "x", nothing, { missed = false }) == "x" and realtime.On("c", "x", nothing, {}) == "x")
assert(realtime.On("c", "x", nothing, nil) == "x" and realtime.Off("c") == 1)

assert(realtime.Keep("orders"))
local is_second = host.arg.run == "2"
if is_second then
	-- Nobody listens yet.
	for n = 1, 5 do assert(realtime.Emit("orders", checks.large(n))) end
end

local heard, big, mixed = {}, 0, 0
local function listen()
	realtime.On("orders", "delivery", function(order, channel, meta)
		assert(channel == "orders" and order._rt == nil and meta.own and meta.seq and meta.server)
		assert(meta.missed == true or meta.missed == nil)
		if meta.missed and not checks.is_large(order, order.n) then mixed = mixed + 1 end
		heard[#heard + 1] = (meta.missed and "missed " or "live ") .. order.n
	end, { missed = true })
	if not is_second then return end
	realtime.On("big", "x", function(data)
		big = big + 1
		if not checks.is_large(data, 100 + big) then mixed = mixed + 1 end
	end)
	for n = 101, 105 do assert(realtime.Emit("big", checks.large(n))) end
end

local function finish(ok, why)
	timer.Remove("steps")
	checks.finish(ok, why)
end

local deadline, step = host.mono() + 60, 1
local steps = {
	function() return realtime.Status() == "connected" end,
	-- The events are in the stream.
	function() return realtime.Stats().outbox.waiting == 0 end,
	function() listen() return true end,
	function()
		if is_second then return #heard >= 5 and big == 5 end
		return realtime.Get("rt:place:" .. host.arg.server .. ":6:orders:delivery") ~= nil
	end,
	function() return realtime.Emit("orders", { n = 6 }) end,
	function() return #heard >= (is_second and 6 or 1) end,
	function()
		local expected = is_second and "missed 1,missed 2,missed 3,missed 4,missed 5,live 6" or "live 6"
		local found = table.concat(heard, ",")
		assert(found == expected, found)
		assert(mixed == 0, mixed .. " listeners got another event's data")
		local stats = realtime.Stats()
		assert(stats.caught_up == (is_second and 5 or 0) and stats.places_lost == 0 and stats.missed_dropped == 0)
		return true
	end,
}
timer.Create("steps", 0, 0, function()
	if host.mono() > deadline then return finish(false, "late at step " .. step .. ": " .. table.concat(heard, ",")) end
	local ok, done = pcall(steps[step])
	if not ok then return finish(false, done) end
	if done then step = step + 1 end
	if not steps[step] then finish(true) end
end)
