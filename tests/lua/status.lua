-- A status message through a map change, with functions of the game that are missing or raise errors. The test plays
-- Discord, and checks the texts.
require("realtime")
local map = host.map_changes()
local discord = host.arg.discord

if map == 1 then
	-- Scripts may break anything: the values that are left are shown.
	function GetHostName() error("from a script") end
	engine.ActiveGamemode = nil
	player.GetCount = nil
	game.MaxPlayers = function() return "many" end
end
local failed
hook.Add("RealtimeActionFailed", "x", function(_, _, reason) failed = reason end)
assert(realtime.AddHook("player:*", "status", {
	type = "discord_status", webhook_url = discord .. "/api/webhooks/1/hunter2", interval = 10,
	format = "{hostname} {server} {map} {gamemode} {players}/{max_players} <t:{time}:R>\n{events}",
	event_format = "**{name}** joined",
}) == "status")
assert(realtime.Emit("player:join", { name = "Al_" .. map }))
local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	local stats = realtime.Stats()
	-- A message, an edit for the new map, and one at the next interval, which surely has the line of this map.
	local shown = stats.webhooks.delivered >= (map == 0 and 1 or 3)
	if not shown and host.mono() < deadline then return end
	timer.Remove("check")
	if shown and host.arg.how == "killed" then print("shown") return end
	if shown and map == 0 and host.arg.how == "long" then return host.changelevel("gm_next") end
	local fine = shown and not failed and stats.panics == 0 and stats.webhooks.dropped.unmade == 0
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", failed, util.TableToJSON(stats))
	host.quit(fine and 0 or 1)
end)
