-- util.TableToJSON and util.JSONToTable with the game's habits: integers printed as decimals, vectors as strings (and
-- back), number-like keys turned into numbers, null left out.

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local function quote(text)
    text = text:gsub('[%c"\\]', function(char)
        return escapes[char] or (char == "\127" and char) or string.format("\\u%04X", char:byte())
    end)
    return '"' .. text .. '"'
end

-- The shortest text that reads back as the same number.
local function shortest(value)
    for precision = 14, 17 do
        local text = string.format("%." .. precision .. "g", value)
        if tonumber(text) == value then return text end
    end
end

local function number(value)
    if value ~= value or value == math.huge or value == -math.huge then return "null" end
    local text = shortest(value)
    return text:find("[%.e]") and text or text .. ".0"
end

local encode

local function triple(value, open, close)
    return string.format('"%s%.9g %.9g %.9g%s"', open, value[1], value[2], value[3], close)
end

local function scalar(value)
    if isstring(value) then return quote(value) end
    if isnumber(value) then return number(value) end
    if isbool(value) then return tostring(value) end
    if isvector(value) then return triple(value, "[", "]") end
    if isangle(value) then return triple(value, "{", "}") end
end

function encode(t, pretty, indent, parents)
    if parents[t] then error("attempt to serialize structure with cyclic reference", 0) end
    parents[t] = true
    local newline, inner = pretty and "\n" or "", pretty and indent .. "\t" or ""
    local parts, count, sequential = {}, 0, true
    for key in pairs(t) do
        count = count + 1
        if t[count] == nil then sequential = false end
    end
    local function member(value) return istable(value) and encode(value, pretty, inner, parents) or scalar(value) end
    if sequential then
        for i = 1, count do parts[i] = inner .. (member(t[i]) or "null") end
    else
        for key, value in pairs(t) do
            local name = isstring(key) and key or isnumber(key) and (key % 1 == 0 and string.format("%.0f", key) or shortest(key))
            local text = name and member(value)
            if text then parts[#parts + 1] = inner .. quote(name) .. (pretty and ": " or ":") .. text end
        end
    end
    parents[t] = nil
    local open, close = sequential and "[" or "{", sequential and "]" or "}"
    if #parts == 0 then return open .. close end
    return open .. newline .. table.concat(parts, "," .. newline) .. newline .. (pretty and indent or "") .. close
end

function util.TableToJSON(t, pretty)
    if not istable(t) then error("bad argument #1 to 'TableToJSON' (table expected, got " .. type(t) .. ")", 2) end
    return encode(t, pretty, "", {})
end

-- Reading ------------------------------------------------------------------------------------------------------

local function utf8(code)
    if code < 0x80 then return string.char(code) end
    if code < 0x800 then return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
    if code < 0x10000 then
        return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    end
    return string.char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64, 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

local simple = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local nothing = {}

local function read_string(text, at)
    local parts = {}
    while true do
        local stop = text:find('["\\]', at)
        if not stop then error("unfinished string", 0) end
        parts[#parts + 1] = text:sub(at, stop - 1)
        if text:sub(stop, stop) == '"' then return table.concat(parts), stop + 1 end
        local char = text:sub(stop + 1, stop + 1)
        at = stop + 2
        if char == "u" then
            local code = tonumber(text:sub(at, at + 3), 16) or error("bad escape", 0)
            at = at + 4
            local low = code >= 0xD800 and code < 0xDC00 and tonumber(text:match("^\\u(%x%x%x%x)", at) or "", 16)
            if low and low >= 0xDC00 and low < 0xE000 then
                code, at = 0x10000 + (code - 0xD800) * 1024 + low - 0xDC00, at + 6
            end
            parts[#parts + 1] = utf8(code)
        else
            parts[#parts + 1] = simple[char] or error("bad escape", 0)
        end
    end
end

-- "[1 2 3]" and "{1 2 3}" become a Vector and an Angle.
local function convert(text)
    local open, a, b, c, close = text:match("^([%[{])(%S+) (%S+) (%S+)([%]}])$")
    a, b, c = tonumber(a), tonumber(b), tonumber(c)
    if not (a and b and c) then return text end
    if open == "[" and close == "]" then return Vector(a, b, c) end
    return open == "{" and close == "}" and Angle(a, b, c) or text
end

local function skip(text, at) return text:find("%S", at) or #text + 1 end

local function read(text, at, depth, raw)
    if depth > 200 then error("too deep", 0) end
    at = skip(text, at)
    local char = text:sub(at, at)
    if char == '"' then
        local value, after = read_string(text, at + 1)
        return raw and value or convert(value), after
    end
    if char == "{" or char == "[" then
        local out, close = {}, char == "{" and "}" or "]"
        at = skip(text, at + 1)
        if text:sub(at, at) == close then return out, at + 1 end
        while true do
            local key, value
            if char == "{" then
                at = skip(text, at)
                if text:sub(at, at) ~= '"' then error("key expected", 0) end
                key, at = read_string(text, at + 1)
                if not raw then key = tonumber(key) or key end
                at = skip(text, at)
                if text:sub(at, at) ~= ":" then error("colon expected", 0) end
                at = at + 1
            end
            value, at = read(text, at, depth + 1, raw)
            if value ~= nothing then out[key == nil and #out + 1 or key] = value end
            at = skip(text, at)
            local next_char = text:sub(at, at)
            if next_char == close then return out, at + 1 end
            if next_char ~= "," then error("comma expected", 0) end
            at = at + 1
        end
    end
    local word = text:match("^%a+", at)
    if word == "true" or word == "false" then return word == "true", at + #word end
    if word == "null" then return nothing, at + 4 end
    local digits = text:match("^%-?%d+%.?%d*[eE]?[%+%-]?%d*", at)
    return tonumber(digits or "") or error("value expected", 0), at + #digits
end

function util.JSONToTable(text, ignore_limits, ignore_conversions)
    if not isstring(text) then error("bad argument #1 to 'JSONToTable' (string expected, got " .. type(text) .. ")", 2) end
    local ok, value, at = pcall(read, text, 1, 0, ignore_conversions)
    if ok and istable(value) and value ~= nothing and skip(text, at) > #text then return value end
end
