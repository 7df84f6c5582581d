-- The server console: commands, convars, and the lines of server.cfg and standard input.
-- Commands of scripts wait for the next frame in a queue, as in the engine's command buffer.

local H = debug.getregistry().host
local native = H.native

FCVAR_NONE, FCVAR_UNREGISTERED, FCVAR_GAMEDLL, FCVAR_CLIENTDLL, FCVAR_PROTECTED = 0, 1, 4, 8, 32
FCVAR_ARCHIVE, FCVAR_NOTIFY, FCVAR_USERINFO, FCVAR_CHEAT, FCVAR_UNLOGGED = 128, 256, 512, 16384, 2048
FCVAR_REPLICATED, FCVAR_NEVER_AS_STRING, FCVAR_DONTRECORD, FCVAR_SERVER_CAN_EXECUTE, FCVAR_LUA_SERVER =
    8192, 4096, 131072, 268435456, 524288

-- Convars ------------------------------------------------------------------------------------------------------

local vars, objects, callbacks = {}, {}, {}
local convar = H.metatable("ConVar")
local owner = setmetatable({}, { __mode = "k" })
convar.__index = convar
convar.__tostring = function(self) return "ConVar [" .. owner[self].name .. "]" end

function CreateConVar(name, value, flags, help, min, max)
    local key = name:lower()
    if not vars[key] then
        if istable(flags) then
            local sum = 0
            for _, flag in pairs(flags) do sum = bit.bor(sum, flag) end
            flags = sum
        end
        vars[key] = { name = name, value = tostring(value), default = tostring(value), flags = flags or 0, help = help or "", min = min, max = max }
        objects[key] = H.userdata(convar)
        owner[objects[key]] = vars[key]
    end
    return objects[key]
end
function CreateClientConVar(...) return CreateConVar(...) end
function ConVarExists(name) return vars[name:lower()] ~= nil end
function GetConVar(name) return objects[name:lower()] end
GetConVar_Internal = GetConVar
function GetConVarString(name) return GetConVar(name) and GetConVar(name):GetString() or "" end
function GetConVarNumber(name) return GetConVar(name) and GetConVar(name):GetFloat() or 0 end

local function assign(var, value)
    local old, number = var.value, tonumber(value)
    if number and var.min and number < var.min then value = var.min end
    if number and var.max and number > var.max then value = var.max end
    var.value = tostring(value)
    if var.value == old then return end
    for _, callback in ipairs(callbacks[var.name:lower()] or {}) do
        H.protect(callback.fn, var.name, old, var.value)
    end
end

function convar:GetName() return owner[self].name end
function convar:GetString() return owner[self].value end
function convar:GetFloat() return tonumber(owner[self].value) or 0 end
function convar:GetInt() return (math.modf(self:GetFloat())) end
function convar:GetBool() return self:GetFloat() ~= 0 end
function convar:GetDefault() return owner[self].default end
function convar:GetHelpText() return owner[self].help end
function convar:GetFlags() return owner[self].flags end
function convar:IsFlagSet(flag) return bit.band(owner[self].flags, flag) ~= 0 end
function convar:GetMin() return owner[self].min end
function convar:GetMax() return owner[self].max end
function convar:SetString(value) assign(owner[self], value) end
function convar:SetFloat(value) assign(owner[self], value) end
function convar:SetInt(value) assign(owner[self], (math.modf(value))) end
function convar:SetBool(value) assign(owner[self], value and 1 or 0) end
function convar:Revert() assign(owner[self], owner[self].default) end

cvars = {}
function cvars.AddChangeCallback(name, fn, id)
    local list = callbacks[name:lower()] or {}
    if id then cvars.RemoveChangeCallback(name, id) end
    list[#list + 1] = { id = id, fn = fn }
    callbacks[name:lower()] = list
end
function cvars.RemoveChangeCallback(name, id)
    local list = callbacks[name:lower()] or {}
    for i = #list, 1, -1 do
        if list[i].id == id then table.remove(list, i) end
    end
end
function cvars.String(name, default) return GetConVar(name) and GetConVar(name):GetString() or default end
function cvars.Number(name, default) return GetConVar(name) and GetConVar(name):GetFloat() or default end
function cvars.Bool(name, default) if GetConVar(name) then return GetConVar(name):GetBool() end return default end

for name, value in pairs({
    hostname = H.settings.hostname, hostport = H.settings.port, ip = "0.0.0.0", maxplayers = 16, sv_password = "", rcon_password = "",
    sv_lan = 0, sv_cheats = 0, sv_tags = "", sv_hibernate_think = 0, gamemode = "sandbox", developer = 0, net_maxfilesize = 64,
}) do CreateConVar(name, value) end

-- Commands -----------------------------------------------------------------------------------------------------

local commands, queue = {}, {}
concommand = {}
function concommand.Add(name, fn, complete, help, flags) commands[name:lower()] = { fn = fn, complete = complete, help = help } end
function concommand.Remove(name) commands[name:lower()] = nil end
function concommand.GetTable()
    local out = {}
    for name, command in pairs(commands) do out[name] = command.fn end
    return out
end
function concommand.Run(ply, name, args, text)
    local command = commands[tostring(name):lower()]
    if not command then return false end
    H.protect(command.fn, ply or NULL, name, args or {}, text or table.concat(args or {}, " "))
    return true
end

local builtin = {}
function builtin.quit() native.quit(0) end
builtin.exit, builtin._restart, builtin.killserver = builtin.quit, builtin.quit, builtin.quit
function builtin.changelevel(args) if args[1] then native.changelevel(args[1]) else MsgN("changelevel <map>") end end
builtin.map = builtin.changelevel
function builtin.echo(args) MsgN(table.concat(args, " ")) end
function builtin.say(args, text) MsgN("Console: ", text) end
function builtin.lua_run(args, text)
    MsgN("> ", text, "...")
    H.protect(RunString, text, "lua_run")
end
function builtin.lua_openscript(args) H.protect(H.include, args[1] or "", "") end
function builtin.exec(args)
    local name = args[1] or ""
    local text = file.Read("cfg/" .. name .. (name:find("%.cfg$") and "" or ".cfg"), "GAME")
    if not text then MsgN("exec: couldn't exec ", name) return end
    for line in text:gmatch("[^\r\n]+") do H.command(line) end
end
function builtin.status()
    MsgN("hostname: ", GetHostName())
    MsgN("map     : ", game.GetMap())
    MsgN("players : ", player.GetCount(), " humans, 0 bots (", game.MaxPlayers(), " max)")
    for _, ply in ipairs(player.GetAll()) do MsgN(string.format('# %d "%s" %s', ply:UserID(), ply:Nick(), ply:SteamID())) end
end

-- One command: its words, and the text after the first one.
local function run_one(text)
    local words, at = {}, 1
    local rest = text:match("^%s*%S+%s*(.-)%s*$") or ""
    while true do
        at = text:find("%S", at)
        if not at then break end
        local stop
        if text:sub(at, at) == '"' then
            stop = text:find('"', at + 1, true) or #text + 1
            words[#words + 1] = text:sub(at + 1, stop - 1)
        else
            stop = text:find('[%s"]', at) or #text + 1
            words[#words + 1] = text:sub(at, stop - 1)
            stop = stop - 1
        end
        at = stop + 1
    end
    local name = table.remove(words, 1)
    if not name then return end
    if rest:match('^"[^"]*"$') then rest = rest:sub(2, -2) end
    local key = name:lower()
    if concommand.Run(NULL, name, words, rest) then return end
    if builtin[key] then return builtin[key](words, rest) end
    local var = vars[key]
    if not var then MsgN('Unknown command "', name, '"')
    elseif #words == 0 then MsgN(string.format('"%s" = "%s" ( def. "%s" )', var.name, var.value, var.default))
    else assign(var, #words == 1 and words[1] or rest) end
end

-- A line: commands separated by `;` outside quotes; `//` ends it. lua_run takes the whole line, because Lua code may contain
-- both.
function H.command(line)
    if line:match("^%s*lua_run%s") then return run_one(line) end
    local start, quoted, i = 1, false, 1
    while i <= #line do
        local char = line:sub(i, i)
        if char == '"' then quoted = not quoted
        elseif not quoted and line:sub(i, i + 1) == "//" then
            line = line:sub(1, i - 1)
            break
        elseif not quoted and char == ";" then
            run_one(line:sub(start, i - 1))
            start = i + 1
        end
        i = i + 1
    end
    run_one(line:sub(start))
end

function H.queue_command(line)
    for part in line:gmatch("[^\r\n]+") do queue[#queue + 1] = part end
end
function RunConsoleCommand(name, ...)
    local parts = { name }
    for i = 1, select("#", ...) do parts[i + 1] = '"' .. tostring((select(i, ...))) .. '"' end
    H.queue_command(table.concat(parts, " "))
end

function H.run_commands()
    if #queue == 0 then return end
    local lines = queue
    queue = {}
    for _, line in ipairs(lines) do H.protect(H.command, line) end
end
