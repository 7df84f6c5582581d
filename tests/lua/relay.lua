-- Hooks that post under the name of a player, with colors as the game has them: `Color(...)` in a spec and in an event.
require("realtime")
local url = host.arg.discord .. "/api/webhooks/1/token"
local function add(id, channel, color)
	assert(realtime.AddHook(channel, id, {
		type = "discord", webhook_url = url, username = "{name}", avatar_url = "{avatar}", thread_name = "{text}",
		applied_tags = { "12" }, embed = { description = "{text}", color = color },
	}))
end
add("fixed", "fixed", Color(255, 136, 0))
add("event", "event", "{color}")

local id, reason = realtime.AddHook("c", "bad", { type = "discord", webhook_url = url, format = "x", username = "Discord" })
local is_refused = id == nil and reason:find("config: username: Discord refuses", 1, true) ~= nil

assert(realtime.Emit("fixed", { text = "a", name = "Bob", avatar = "https://a/b.png" }))
assert(realtime.Emit("event", { text = "b", name = "Clyde", color = Color(1, 2, 3, 4) }))
assert(realtime.Emit("event", { text = "c", name = "Bob", color = "red" }))

local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	local stats = realtime.Stats()
	local done = stats.webhooks.delivered == 3 and stats.message_parts_left_out == 1
	if not done and host.mono() < deadline then return end
	print(done and is_refused and "1 passed, 0 failed" or "0 passed, 1 failed: " .. tostring(reason))
	host.quit(done and is_refused and 0 or 1)
end)
