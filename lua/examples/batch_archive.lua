-- Collects kills and sends them as one event every five minutes, for a program that writes each batch into a database with
-- one query. The batches also go to an event log on this server.
--
-- Copy to:  garrysmod/lua/autorun/server/batch_archive.lua
-- Sends:    archive:kills {server, kills = {{killer, victim, time}, ...}}

local EVERY_S = 300
-- A batch of this size is sent at once, because an event has at most 512 KiB.
local KILLS_MAX = 2000

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] batch_archive.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

-- "fleet": each batch is written by the server that sends it, and not by all.
realtime.AddHook("archive:kills", "batch_archive", { type = "file", path = "logs/kill_archive.log", scope = "fleet" })

local batch = {}
local function send()
	if #batch == 0 then return end
	-- If the queue is full, the batch stays and grows.
	if realtime.Emit("archive:kills", { server = GetHostName(), kills = batch }) then batch = {} end
end

hook.Add("PlayerDeath", "batch_archive", function(victim, _, attacker)
	if not IsValid(attacker) or not attacker:IsPlayer() or #batch >= KILLS_MAX * 2 then return end
	batch[#batch + 1] = { killer = attacker:Nick(), victim = victim:Nick(), time = os.time() }
	if #batch >= KILLS_MAX then send() end
end)

timer.Create("batch_archive", EVERY_S, 0, send)
hook.Add("ShutDown", "batch_archive", send)
