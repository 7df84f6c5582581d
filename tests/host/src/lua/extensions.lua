-- The additions to string, table, math and util that most scripts use, with the behaviour that the game's wiki describes.

local H = debug.getregistry().host
local native = H.native

-- string
function string.StartsWith(text, start) return text:sub(1, #start) == start end
string.StartWith = string.StartsWith
function string.EndsWith(text, tail) return tail == "" or text:sub(-#tail) == tail end
function string.PatternSafe(text) return (text:gsub("[%(%)%.%%%+%-%*%?%[%]%^%$]", "%%%0")) end
function string.Trim(text, char)
    local set = char and char:PatternSafe() or "%s"
    return text:match("^" .. set .. "*(.-)" .. set .. "*$") or text
end
function string.TrimLeft(text, char) return text:match("^" .. (char and char:PatternSafe() or "%s") .. "*(.+)$") or text end
function string.TrimRight(text, char) return text:match("^(.-)" .. (char and char:PatternSafe() or "%s") .. "*$") or text end
function string.Explode(separator, text, with_pattern)
    local parts, from = {}, 1
    if separator == "" then
        for i = 1, #text do parts[i] = text:sub(i, i) end
        return parts
    end
    while true do
        local first, last = text:find(separator, from, not with_pattern)
        if not first then break end
        parts[#parts + 1] = text:sub(from, first - 1)
        from = last + 1
    end
    parts[#parts + 1] = text:sub(from)
    return parts
end
function string.Split(text, separator) return string.Explode(separator, text) end
function string.Implode(separator, parts) return table.concat(parts, separator) end
function string.Replace(text, what, by) return (text:gsub(what:PatternSafe(), (by:gsub("%%", "%%%%")))) end
function string.Left(text, count) return text:sub(1, count) end
function string.Right(text, count) return text:sub(-count) end
function string.ToTable(text) return string.Explode("", text) end
function string.JavascriptSafe(text) return (text:gsub('[\\"\']', "\\%0"):gsub("\n", "\\n")) end
function string.GetExtensionFromFilename(path) return path:match("%.([^%./\\]+)$") end
function string.GetFileFromFilename(path) return path:match("[^/\\]+$") or path end
function string.GetPathFromFilename(path) return path:match("^(.*[/\\])[^/\\]-$") or "" end
function string.Comma(number) return (tostring(number):reverse():gsub("(%d%d%d)", "%1,"):gsub(",(%-?)$", "%1"):reverse()) end
function string.FormattedTime(seconds, format)
    local h, m, s = math.floor(seconds / 3600), math.floor(seconds / 60) % 60, math.floor(seconds) % 60
    return format and string.format(format, h * 60 + m, s, math.floor(seconds % 1 * 100)) or { h = h, m = m, s = s, ms = seconds % 1 * 100 }
end
getmetatable("").__index = function(text, key)
    if isnumber(key) then return text:sub(key, key) end
    return string[key]
end

-- table
function table.Count(t)
    local count = 0
    for _ in pairs(t) do count = count + 1 end
    return count
end
function table.IsEmpty(t) return next(t) == nil end
function table.HasValue(t, wanted)
    for _, value in pairs(t) do
        if value == wanted then return true end
    end
    return false
end
function table.KeyFromValue(t, wanted)
    for key, value in pairs(t) do
        if value == wanted then return key end
    end
end
function table.RemoveByValue(t, wanted)
    local key = table.KeyFromValue(t, wanted)
    if not key then return false end
    if isnumber(key) then table.remove(t, key) else t[key] = nil end
    return key
end
local function copy(t, seen)
    if seen[t] then return seen[t] end
    local out = setmetatable({}, debug.getmetatable(t))
    seen[t] = out
    for key, value in pairs(t) do
        if istable(value) then value = copy(value, seen)
        elseif isvector(value) then value = Vector(value)
        elseif isangle(value) then value = Angle(value) end
        out[key] = value
    end
    return out
end
function table.Copy(t) return t and copy(t, {}) end
function table.Merge(into, from)
    for key, value in pairs(from) do
        if istable(value) and istable(into[key]) then table.Merge(into[key], value) else into[key] = value end
    end
    return into
end
function table.Add(into, from)
    for _, value in ipairs(from) do into[#into + 1] = value end
    return into
end
function table.Empty(t) for key in pairs(t) do t[key] = nil end end
function table.GetKeys(t)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    return keys
end
function table.IsSequential(t)
    local i = 1
    for _ in pairs(t) do
        if t[i] == nil then return false end
        i = i + 1
    end
    return true
end
function table.Reverse(t)
    local out = {}
    for i = #t, 1, -1 do out[#out + 1] = t[i] end
    return out
end
function table.Random(t)
    local keys = table.GetKeys(t)
    local key = keys[math.random(#keys)]
    return t[key], key
end
function table.SortByMember(t, member, ascending)
    table.sort(t, function(a, b) if ascending then return a[member] < b[member] end return a[member] > b[member] end)
end
local function sorted_keys(t)
    local keys = table.GetKeys(t)
    table.sort(keys, function(a, b)
        if isnumber(a) and isnumber(b) then return a < b end
        return tostring(a) < tostring(b)
    end)
    return keys
end
function SortedPairs(t, descending)
    local keys, i = sorted_keys(t), 0
    if descending then keys = table.Reverse(keys) end
    return function()
        i = i + 1
        if keys[i] ~= nil then return keys[i], t[keys[i]] end
    end
end
function SortedPairsByValue(t, descending)
    local keys, i = table.GetKeys(t), 0
    table.sort(keys, function(a, b) if descending then return t[a] > t[b] end return t[a] < t[b] end)
    return function()
        i = i + 1
        if keys[i] ~= nil then return keys[i], t[keys[i]] end
    end
end
function PrintTable(t, indent, done)
    indent, done = indent or 0, done or {}
    done[t] = true
    for _, key in ipairs(sorted_keys(t)) do
        local value = t[key]
        Msg(string.rep("\t", indent))
        if istable(value) and not done[value] and not IsColor(value) then
            MsgN(tostring(key), ":")
            PrintTable(value, indent + 1, done)
        else
            MsgN(tostring(key), "\t=\t", tostring(value))
        end
    end
end

-- math
function math.Clamp(value, low, high) return value < low and low or value > high and high or value end
function math.Round(value, decimals)
    local scale = 10 ^ (decimals or 0)
    return math.floor(value * scale + 0.5) / scale
end
function math.Truncate(value, decimals)
    local scale = 10 ^ (decimals or 0)
    return (value < 0 and math.ceil or math.floor)(value * scale) / scale
end
function math.Rand(low, high) return low + (high - low) * math.random() end
function math.Remap(value, a, b, c, d) return c + (value - a) / (b - a) * (d - c) end
function math.Approach(value, target, step)
    step = math.abs(step)
    return value < target and math.min(value + step, target) or math.max(value - step, target)
end
function math.IsNearlyEqual(a, b, tolerance) return math.abs(a - b) <= (tolerance or 1e-8) end
function Lerp(fraction, from, to) return from + (to - from) * math.Clamp(fraction, 0, 1) end

-- util and globals
function tobool(value)
    return not (value == nil or value == false or value == 0 or value == "0" or value == "false" or value == "")
end
function util.tobool(value) return tobool(value) end
function util.CRC(value) return native.crc32(tostring(value)) end
function util.IsBinaryModuleInstalled(name) return native.module_installed(name) end
function util.DateStamp() return os.date("%Y-%m-%d_%H-%M-%S") end
function util.AddNetworkString() return 1 end
function Format(...) return string.format(...) end
function IsFirstTimePredicted() return true end
function GetHostName() return GetConVar("hostname"):GetString() end

game, engine, gmod = {}, {}, {}
function game.GetMap() return native.map() end
function game.GetIPAddress() return "127.0.0.1:" .. GetConVar("hostport"):GetString() end
function game.MaxPlayers() return GetConVar("maxplayers"):GetInt() end
function game.IsDedicated() return true end
function game.SinglePlayer() return false end
function game.ConsoleCommand(line) H.queue_command(line) end
function game.GetWorld() return H.world() end
function game.KickID(id, reason) MsgN("KickID ", tostring(id), ": ", reason or "") end
function engine.TickInterval() return H.settings.interval end
function engine.ActiveGamemode() return "sandbox" end
function engine.TickCount() return H.ticks or 0 end
function engine.CloseServer() native.quit(0) end
GAMEMODE = { Name = "Sandbox", FolderName = "sandbox" }
function gmod.GetGamemode() return GAMEMODE end

-- Teams, which a gamemode sets up.
team = {}
local teams = { [1001] = "Unassigned" }
function team.SetUp(index, name) teams[index] = name end
function team.GetName(index) return teams[index] or "" end

-- Game events reach the hooks only if a script has asked for them.
gameevent = {}
local listened = {}
function gameevent.Listen(name) listened[name] = true end
function H.game_event(name, data)
    if listened[name] then H.run_hook(name, data) end
end
