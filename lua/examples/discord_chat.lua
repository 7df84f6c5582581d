-- The chat of the server in a channel of Discord: each line appears under the name of the player who wrote it.
--
-- Copy to:  garrysmod/lua/autorun/server/discord_chat.lua, beside realtime_game_hooks.lua
-- Set:      WEBHOOK here; `realtime_hooks 1` in the console
-- Reads:    chat:message. Team chat stays on the server.

local WEBHOOK = "https://discord.com/api/webhooks/ID/TOKEN"

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] discord_chat.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

if WEBHOOK:find("ID/TOKEN", 1, true) then
	print("discord_chat.lua: set WEBHOOK to the webhook of your Discord channel")
else
	realtime.AddHook("chat:message", "discord_chat", {
		type = "discord", webhook_url = WEBHOOK,
		username = "{name} on {server}", format = "{text}",
		silent = true, suppress_embeds = true,
		where = { team = false },
	})
end
