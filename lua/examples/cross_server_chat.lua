-- Players of all servers read each other's chat.
--
-- Copy to:  garrysmod/lua/autorun/server/cross_server_chat.lua, beside realtime_game_hooks.lua, on every server
-- Set:      `realtime_hooks 1` in the console; give each server its own `hostname`
-- Reads:    chat:message of the other servers. Team chat stays on its server.

-- The game cuts a line of chat at 255 bytes.
local TEXT_BYTES_MAX = 180

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] cross_server_chat.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

-- On one line, without control characters, and not cut inside a character.
local function line(text, bytes_max)
	text = tostring(text):gsub("%c", " ")
	if #text <= bytes_max then return text end
	return (text:sub(1, bytes_max):gsub("[\192-\255][\128-\191]*$", "")) .. "..."
end

realtime.On("chat:message", "cross_server_chat", function(message, _, meta)
	if meta.own or not istable(message) or message.team or not isstring(message.text) then return end
	PrintMessage(HUD_PRINTTALK, string.format("[%s] %s: %s", line(message.server, 24), line(message.name, 32), line(message.text, TEXT_BYTES_MAX)))
end)
