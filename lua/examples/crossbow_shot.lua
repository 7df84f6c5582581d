-- A crossbow kill of a player who was nearly dead goes to Discord and is counted for the day.
--
-- Copy to:  garrysmod/lua/autorun/server/crossbow_shot.lua
-- Set:      WEBHOOK here
-- Sends:    crossbow:kill {killer, victim, weapon, victim_hp (before the shot)}
-- Counts:   crossbow_kills:daily, for a day from its first count; read it with realtime.Get("crossbow_kills:daily", print)

local WEBHOOK = "https://discord.com/api/webhooks/ID/TOKEN"

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] crossbow_shot.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

if WEBHOOK:find("ID/TOKEN", 1, true) then
	return print("crossbow_shot.lua: set WEBHOOK to the webhook of your Discord channel")
end

-- The health before the last damage, because a dead player has none.
local health = setmetatable({}, { __mode = "k" })
hook.Add("EntityTakeDamage", "crossbow_shot", function(target)
	if target:IsPlayer() then health[target] = target:Health() end
end)

hook.Add("PlayerDeath", "crossbow_shot", function(victim, inflictor, attacker)
	if not IsValid(attacker) or not attacker:IsPlayer() or not IsValid(inflictor) then return end
	-- A bolt in flight kills; its shooter may hold another weapon by then.
	local weapon = inflictor:GetClass()
	if weapon == "crossbow_bolt" then weapon = "weapon_crossbow" end
	realtime.Emit("crossbow:kill", {
		killer = attacker:Nick(), victim = victim:Nick(), weapon = weapon, victim_hp = health[victim] or 100,
	})
end)

realtime.AddHook("crossbow:kill", "crossbow_shot", {
	type = "conditional",
	condition = function(data) return data.weapon == "weapon_crossbow" and data.victim_hp < 20 end,
	actions = {
		{ type = "discord", webhook_url = WEBHOOK, format = "AWESOME SHOT: {killer} killed {victim}" },
		{ type = "counter", key = "crossbow_kills:daily", ttl = 86400 },
	},
})
