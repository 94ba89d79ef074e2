"""Comets: ships, thrust and shots, for two to sixteen players, and still good on a bad network.

What it shows about networking:

* The server decides. Clients send which keys are pressed, and never where they are: so nobody can cheat by saying so.
* Prediction: your own ship moves at once, without waiting for the server. When the server's word comes, which is old by
  then, the client goes back to it and plays the keys since then again; mostly that ends where it was. (Key P)
* Interpolation: the others are drawn a moment ago, between two things the server said, so they fly smoothly. (Key I)
* Lag compensation: you aim at what you see, which is the past. So the server judges your shot against where the others
  were on your screen, but no further back than 0.4 seconds: else you would be hit long after you took cover.
* What can be worked out need not be sent: comets fly straight, so the tick alone says where they are.

Keys: arrows or WASD fly, space shoots. P, I: prediction and interpolation on and off. G: a ghost where the server last
saw each ship. F3: the network. Escape leaves. Try the keys on a bad network:

    python -m netplay.examples.comets                                     the menu
    python -m netplay.examples.comets "local://me?lag_ms=150&loss_pct=5"  alone, as if the server were far away
    python -m netplay.examples.comets --serve                             play, and let friends join
    python -m netplay.examples.comets "play://localhost:5000?lag_ms=80"   join

| file | what it is |
|---|---|
| `rules.py` | what a tick does to a ship: no network, no window |
| `messages.py` | what travels |
| `server.py` | decides |
| `client.py` | predicts, and believes the server |
| `picture.py` | draws |
| `__main__.py` | begins |
"""
