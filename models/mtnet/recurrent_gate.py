"""Squeeze and recursion: channels of each frame gated by a recurrent cell that has seen the previous frames.

A. Stergiou, R. Poppe, "Multi-Temporal Convolutions for Human Action Recognition in Videos", IJCNN 2021
(docs/papers/mtnet.md, section 3, equation (4)).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["gru", "lstm", "lstm_peephole", "rnn"]


class RecurrentGate(nn.Module):
    """[B, C, T, h, w] in and out, times the cell's output for the mean of each frame: from -1 to 1, no sigmoid.

    The GRU is torch's, which is cuDNN's form: its reset gate multiplies what the recurrent weights return. In that of
    K. Cho et al. (EMNLP 2014) it multiplies the state before them.
    """

    def __init__(self, channels: int, *, cell: Cell, layers: int) -> None:
        super().__init__()
        kinds = {"gru": nn.GRU, "lstm": nn.LSTM, "lstm_peephole": PeepholeLSTM, "rnn": nn.RNN}
        self.cell = kinds[cell](channels, channels, layers, batch_first=True)

    def forward(self, y: Tensor) -> Tensor:
        hidden: Tensor = self.cell(y.mean((3, 4)).transpose(1, 2))[0]
        return y * hidden.transpose(1, 2)[..., None, None]


class PeepholeLSTM(nn.Module):
    """An LSTM whose gates also see the cell state (F. Gers, J. Schmidhuber, IJCNN 2000), called like `nn.LSTM`.

    Three weights per unit more than `nn.LSTM`; they start at 0, and the others as in `nn.LSTM`.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, *, batch_first: bool) -> None:
        super().__init__()
        assert batch_first
        self.layers = nn.ModuleList(PeepholeLayer(hidden if index else inputs, hidden) for index in range(layers))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """[B, T, inputs] -> [B, T, hidden], from a zero state."""
        for layer in self.layers:
            x = layer(x)
        return (x,)


class PeepholeLayer(nn.Module):
    """One layer of `PeepholeLSTM`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, 4 * hidden)
        self.of_hidden = nn.Linear(hidden, 4 * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))
        self.of_cell = nn.Parameter(torch.zeros(3, hidden))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, inputs] -> [B, T, hidden]."""
        seen = self.of_input(x)
        hidden = cell = seen.new_zeros(len(x), self.of_cell.shape[1])
        states = []
        for now in seen.unbind(1):
            entry, forget, change, leave = (now + self.of_hidden(hidden)).chunk(4, 1)
            cell = cell * (forget + self.of_cell[1] * cell).sigmoid() + (
                (entry + self.of_cell[0] * cell).sigmoid() * change.tanh()
            )
            hidden = (leave + self.of_cell[2] * cell).sigmoid() * cell.tanh()
            states.append(hidden)
        return torch.stack(states, 1)
