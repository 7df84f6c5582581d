-- Big payments of DarkRP go to Discord, and the sums of each hour to an event log, from which a program can draw a graph.
--
-- Copy to:  garrysmod/lua/autorun/server/economy_discord.lua, beside realtime_adapters.lua
-- Set:      WEBHOOK and BIG here; `realtime_adapters 1` in the console
-- Reads:    economy:money, which comes for every salary, gift and purchase

local WEBHOOK = "https://discord.com/api/webhooks/ID/TOKEN"
local BIG = 100000
local WINDOW_S = 3600

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] economy_discord.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

if WEBHOOK:find("ID/TOKEN", 1, true) then
	print("economy_discord.lua: set WEBHOOK to the webhook of your Discord channel")
else
	realtime.AddHook("economy:money", "economy_discord", {
		type = "discord", webhook_url = WEBHOOK, username = "Bank",
		format = "**{name}** received {change} on {server} and has {new} now",
		where = { change = { ge = BIG } },
	})
end

realtime.AddAggregator("economy:money", "economy_discord", {
	interval = WINDOW_S,
	aggregate = function(payments)
		local sums = { payments = #payments, earned = 0, spent = 0, largest = 0, time = os.time() }
		for _, payment in ipairs(payments) do
			local change = tonumber(payment.change) or 0
			if change > 0 then sums.earned = sums.earned + change else sums.spent = sums.spent - change end
			sums.largest = math.max(sums.largest, change)
		end
		return sums
	end,
	actions = { { type = "file", path = "logs/economy.log" } },
})
